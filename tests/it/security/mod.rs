//! Attacks, hostile input, and responses that reach another visitor.

mod attacks;
mod hostile_input;
mod leaks;
