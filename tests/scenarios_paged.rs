//! The scenarios once more, in a broker without memory for messages: every one that can go to the
//! disk goes there before it is delivered.

use crate::support::own_process;
use crate::support::world::PAGES_EVERYTHING;

#[test]
fn every_scenario_holds_when_all_goes_to_the_disk() {
    let passed = own_process::run_again("scenarios::", PAGES_EVERYTHING);
    assert!(passed > 400, "{passed}");
}
