//! Between the contract and the core's ports: one module for each version of the contract, chosen once at load.

pub(crate) mod v0_1;
