//! Losses, corruptions and standstills that users of other brokers have reported, each as a rule that
//! this one keeps.
//!
//! Those that nothing else covers are tests here; the others are named with what covers them:
//!
//! ```text
//!   a  a start after a crash loses nothing on the start after it  files
//!   b  acknowledged messages come back after a power cut          simulation::a_broker_does_what…,
//!                                                                 crash, store::tests::simulation
//!   c  settlements of messages that are not there close a queue   restarts
//!   d  a cut file of delayed messages prevents a start            restarts
//!   e  one damaged queue stops the others                         files
//!   f  messages that expire before the start is over              restarts
//!   g  the count of deliveries is lost at a restart               paging::delivery_counts_survive…,
//!                                                                 quorum::a_restart_puts_what…
//!   h  what was fetched is lost when its client goes              restarts
//!   i  what was purged is back after a restart                    files; paging::a_purge_takes_what…
//!   j  files that were removed still take up the disk             files
//!   k  limits and permissions are lost in a crash at their saving files, restarts
//!   o  a long message for many queues damages the others          wires
//!   p  a client that goes in the middle of a body                 wires; wire::a_client_gone_in…
//!   q  consumers of one queue race each other                     wires
//!   r  confirms out of order                                      confirms::confirms_keep_the_order…,
//!                                                                 simulation
//!   s  heartbeats on other channels than 0                        content::content_and_heartbeats…
//!   t  headers are lost on the way through dead-letter exchanges  queues
//!   u  circles of dead letters                                    dead_letters::a_circle_…
//!   v  a policy changes while somebody publishes                  wires
//!   w  consumers of a priority queue get nothing more             queues
//!   x  counters drift                                             every scenario, simulation and
//!                                                                 hostile: all is counted anew
//!   ee confirms before the sync                                   confirms::a_persistent_message_is…,
//!                                                                 simulation
//!   ff a flipped bit loses what is beside it                      files; store::tests::damage
//!   hh one old message keeps all that came after it               files; store::tests::compaction
//!   ii a file half written at a kill                              crash; store::tests::damage,
//!                                                                 store::tests::compaction
//! ```
//!
//! There are no streams (l, m, n: retention by age, offsets of consumers, deletion under both) and no
//! cluster (y, z, aa, bb, cc, dd, gg: resynchronization, replication, leaders, leases, split brains).

mod files;
mod queues;
mod restarts;
mod wires;
