//! Black-box tests: the built binary between simulators. `support` starts both.

// What an operator may change over HTTP.
mod admin;
// The archive, killed and replayed.
mod archive;
// Reads our sources: who may import whom.
mod architecture;
// Hostile input and broken machines.
mod bad_days;
// The same for what makes less noise.
mod bad_noise;
// Reports, exit statuses and errors of the commands.
mod cli;
// Conformity as code.
mod config_sync;
// Kills the binary at chosen points and at random.
mod crash;
// The same while there is less noise: digests, holds, storms.
mod crash_noise;
// Sends summaries.
mod digest;
// Targets that are ill.
mod faults;
// Frozen events.
mod fixtures;
// The way of a finding.
mod flow;
// What ends without a word.
mod gone;
// What scripts see of the past.
mod history;
mod holds;
// Functions of other files.
mod imports;
// What becomes of a target's answers.
mod lanes;
mod later;
// What time and people do to tickets.
mod lifecycle;
// Needs a real SQS.
mod localstack;
// The numbers of `/metrics`.
mod metrics;
// The sources on good and bad days.
mod queue;
// Publishes to a topic.
mod remediation;
// Compares scripts over an archive.
mod replay;
mod replay_noise;
// Several on one database.
mod replicas;
// Storms and budgets.
mod report;
mod restraint;
// `routes test`: reading, cases, coverage.
mod routes_test;
// Scripts that are wrong or hostile.
mod scripts;
// Candidate scripts beside the live ones; why something was sent.
mod shadow;
// Mutes.
mod silences;
// Backlogs too long.
mod spill;
mod support;
// The log and traces.
mod telemetry;
// A sender that signs.
mod webhook;
// A year of a company, replayed.
mod year;
