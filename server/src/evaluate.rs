//! How often a model is right: labelled rows are run through it, and its answers scored.

pub mod cascade;
pub mod claims;
pub mod derive;
pub mod example;
pub mod examples;
pub mod folder;
pub mod metric;
pub mod npz;
pub mod run;
pub mod sheet;
