//! What goes wrong around a broker, and the mistakes of those who start it: each is survived and told.

mod command_line;
mod damage;
mod log;
mod output;
