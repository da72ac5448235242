//! Black-box tests: the built binary between simulators. `support` starts both; `flow` is the way of a finding, `crash`
//! kills the binary, `cli` reads its reports, `architecture` reads its sources, `localstack` needs a real SQS.

mod architecture;
mod cli;
mod crash;
mod flow;
mod localstack;
mod support;
