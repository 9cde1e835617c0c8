//! Request collapsing: one leader, its followers, and the body that they share.

mod arriving;
mod budget;
mod failures;
mod follower;
mod forbidden_keys;
mod leader;
mod loops;
mod readers;
mod stalled_recordings;
mod streaming;
mod wait_graphs;
