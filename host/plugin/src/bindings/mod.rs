//! Generated from `wit/`, one module for each released version of the contract.

pub(crate) mod v0_1;
