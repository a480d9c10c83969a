//! Two clients of a virtual host that send anything, from the handshake on, in any pieces: nothing
//! panics, what comes out are whole frames, and everything adds up.

#![cfg_attr(fuzzing, no_main)]

#[path = "../../tests/hostile/dialogue.rs"]
#[allow(dead_code)]
mod dialogue;
#[path = "../../tests/hostile/machine.rs"]
#[allow(dead_code)]
mod machine;
#[path = "../src/script.rs"]
#[allow(dead_code)]
mod script;
#[path = "../../tests/support/steps.rs"]
mod steps;
/// Where the machine looks for it.
mod support {
    pub(crate) use crate::steps;
}

use leveret_codec_fuzz::fuzz_target;
use machine::Machine;
use script::Deed;

fuzz_target!(|input: &[u8]| {
    let open = script::begins_open(input);
    let mut machine = Machine::new();
    let mut clients = [client(&mut machine, open), client(&mut machine, open)];
    let mut rest = input;
    while let Some((which, deed)) = script::next(&mut rest) {
        match deed {
            Deed::Octets(octets) => machine.feed(clients[which], octets),
            Deed::Frame(kind, channel, payload) => {
                machine.feed(clients[which], &dialogue::framed(kind, channel, payload));
            }
            Deed::Time(ms) => machine.pass_ms(ms),
            Deed::Again => {
                machine.disconnect(clients[which]);
                clients[which] = client(&mut machine, open);
            }
        }
    }
    machine.end();
});

fn client(machine: &mut Machine, open: bool) -> usize {
    let wire = machine.connect();
    if open {
        dialogue::handshake().iter().for_each(|piece| machine.feed(wire, piece));
    }
    wire
}
