//! Sessions by script: what happens, and what is to come of it.

mod failover;
mod opening;
mod requests;
mod script;
mod storm;
mod upkeep;
mod wanted;
