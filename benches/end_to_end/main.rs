//! The router as a process between simulators: events a second, CPU for each, memory, latency, and what c7n-mailer
//! does on the same machine against the same simulators.
//!
//! ```text
//! cargo bench --bench end_to_end                          # idle, floor, throughput, mailer
//! cargo bench --bench end_to_end -- burst                 # 2.2 million events over 200 s
//! cargo bench --bench end_to_end -- hold                  # 50,000 findings held for an hour: CPU while they wait
//! cargo bench --bench end_to_end -- throughput --events 200000
//! cargo bench --bench end_to_end -- throughput postgres   # the same over PostgreSQL, and the ratio
//! cargo bench --bench end_to_end -- takeover backlog      # replicas: after `kill -9`; urgent findings before a long queue
//! cargo bench --bench end_to_end -- soak --minutes 120    # ten times the average load, with bursts, over PostgreSQL
//! ```
//!
//! The simulators run in this process, the router in its own; both share the machine. Linux only: CPU time and memory
//! come from /proc.

mod company;
mod floor;
mod process;
mod replicas;
mod scenes;
mod soak;

use clap::Parser;
use company::Keeps;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Args {
    /// `idle`, `floor`, `throughput`, `postgres`, `burst`, `hold`, `takeover`, `backlog`, `soak`, `mailer`; without one: `idle`,
    /// `floor`, `throughput`, `mailer`.
    scenes: Vec<String>,
    /// Events of `throughput`.
    #[arg(long, default_value_t = 100_000)]
    events: u64,
    /// Events of `burst`.
    #[arg(long, default_value_t = 2_200_000)]
    burst_events: u64,
    /// Seconds over which the events of `burst` come in, evenly.
    #[arg(long, default_value_t = 200)]
    burst_seconds: u64,
    /// Findings of `hold`.
    #[arg(long, default_value_t = 50_000)]
    held: u64,
    /// Rows that wait in `backlog`.
    #[arg(long, default_value_t = 500_000)]
    backlog: u64,
    /// How long `soak` lasts.
    #[arg(long, default_value_t = 120)]
    minutes: u64,
    /// Events a second of `soak`; the default is ten times 40 million a week.
    #[arg(long, default_value_t = 660)]
    rate: u64,
    /// Routers of `soak`, on one queue and one database.
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// Messages that c7n-mailer is given.
    #[arg(long, default_value_t = 1_000)]
    mailer_messages: u64,
    /// Empties this queue with the SDK and does nothing else: what `floor` measures, in a process of its own.
    #[arg(long, hide = true)]
    empty: Option<String>,
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() {
    let mut args = Args::parse();
    if let Some(queue) = &args.empty {
        return floor::empty(queue).await;
    }
    if args.scenes.is_empty() {
        args.scenes = ["idle", "floor", "throughput", "mailer"].map(str::to_owned).to_vec();
    }
    let (mut ours, mut floor) = (None, None);
    for scene in &args.scenes {
        match scene.as_str() {
            "idle" => scenes::idle().await,
            "floor" => floor = Some(scenes::floor(args.events).await),
            "throughput" => ours = Some(scenes::throughput(args.events, floor, Keeps::File).await),
            "postgres" => replicas::throughput(args.events, ours).await,
            "takeover" => replicas::takeover(args.events).await,
            "backlog" => replicas::backlog(args.backlog).await,
            "soak" => soak::soak(args.minutes, args.rate, args.replicas).await,
            "burst" => scenes::burst(args.burst_events, args.burst_seconds).await,
            "hold" => scenes::hold(args.held).await,
            "mailer" => scenes::mailer(args.mailer_messages, ours).await,
            other => panic!("there is no scene `{other}`; see --help"),
        }
    }
}
