//! Brokers that want to know who asks: every way to prove it, refusals, and what is rotated.

mod acls;
mod article;
mod listeners;
mod passwords;
mod tls;
mod tokens;
mod ways_in;
mod wire;
