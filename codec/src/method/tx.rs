//! Class tx: publishes and acknowledgements that take effect together.
//!
//! spec: 1.9

use super::define::methods;

methods! { 90;
    /// The channel works in transactions from here on. spec: 1.9.2.1
    Select = 10 "tx.select" {}

    /// It does. spec: 1.9.2.2
    SelectOk = 11 "tx.select-ok" {}

    /// What was collected is to take effect. spec: 1.9.2.3
    Commit = 20 "tx.commit" {}

    /// It has. spec: 1.9.2.4
    CommitOk = 21 "tx.commit-ok" {}

    /// What was collected is to be forgotten. spec: 1.9.2.5
    Rollback = 30 "tx.rollback" {}

    /// It is. spec: 1.9.2.6
    RollbackOk = 31 "tx.rollback-ok" {}
}
