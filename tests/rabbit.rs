//! RabbitMQ's configuration: what files and variables mean, and the program with them.

mod cases;
mod configured;
mod nodes;
