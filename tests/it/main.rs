//! Black-box tests: the built binary between simulators. `support` starts both; `flow` is the way of a finding, `crash`
//! kills the binary, `cli` reads its reports, `remediation` publishes to a topic, `scripts` are wrong or hostile, `silences` mute, `architecture` reads its sources, `fixtures` are frozen events, `localstack` needs a real SQS.

mod architecture;
mod cli;
mod crash;
mod faults;
mod fixtures;
mod flow;
mod localstack;
mod remediation;
mod scripts;
mod silences;
mod support;
