//! Black-box tests: the built binary between simulators. `support` starts both; `flow` is the way of a finding, `crash`
//! kills the binary, `bad_days` are hostile input and broken machines, `bad_noise` the same for what makes less noise, `cli` reads its reports, `config_sync` is Conformity as code, `remediation` publishes to a topic, `replay` compares scripts over an archive, `scripts` are wrong or hostile, `silences` mute, `architecture` reads its sources, `digest` sends summaries, `fixtures` are frozen events, `history` is what scripts see of the past, `localstack` needs a real SQS.

mod architecture;
mod bad_days;
mod bad_noise;
mod cli;
mod config_sync;
mod crash;
mod digest;
mod faults;
mod fixtures;
mod flow;
mod history;
mod localstack;
mod remediation;
mod replay;
mod scripts;
mod silences;
mod support;
