//! The HTTP Event Collector, spoken to over HTTP: a scripted server on one side, the public contract on the other.

mod ack;
mod codes;
mod odd;
mod quota;
mod raw;
mod rows;
mod support;
mod tls;
