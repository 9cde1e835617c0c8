//! The example reverse proxy, over sockets.

mod fields;
mod hosts;
mod limits;
mod smuggling;
mod truncation;
mod upstream;
