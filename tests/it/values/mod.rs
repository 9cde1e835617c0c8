//! Values of the low-level cache, and pages that depend on them.

mod arriving_pages;
mod clears;
mod computed;
mod dependencies;
mod low_level;
mod numbers;
mod page_parts;
mod part_bodies;
mod sources;
mod writes;
