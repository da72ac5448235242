//! Generated companies against the simulator, in each of its undocumented shapes: what was applied leaves nothing to plan, and
//! neither does what was exported. `FINDINGS_ROUTER_LONG_TESTS=1` runs many, from a random seed.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use findings_router::config_sync::{
    Checked, Conformity, Endpoint, Plan, PlanOptions, ReadConformity, actual, apply, base_url, check, export,
    history::History, plan,
};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Value, json};
use simulators::{ConformityOptions, Options, Seed, Simulators, conformity::Write};

use super::{
    KEY,
    companies::{Company, Switches, company, switches},
};

/// 2026-11-26.
const NOW: i64 = 1_795_000_000_000;

struct World {
    sims: Simulators,
    folder: tempfile::TempDir,
    conformity: Conformity,
    account: String,
}

impl World {
    async fn new(switches: &Switches) -> Self {
        let options = ConformityOptions {
            tags_patch: switches.tags,
            bulk_rules: switches.bulk,
            rule_patch: switches.rule,
            empties: switches.empties,
            secrets: switches.secrets,
            urls_are_secret: switches.urls_are_secret,
            ..ConformityOptions::default()
        };
        let sims = Simulators::start(Options { conformity: options, ..Options::default() }).await.expect("simulators");
        sims.conformity.seed(Seed { accounts: 2, rules_per_account: 6, groups: true, ..Seed::default() });
        let account = sims.conformity.accounts()[0]["attributes"]["awsaccount-id"].as_str().expect("text").to_owned();
        let url = sims.conformity.url();
        let address = if switches.vision_one { format!("vision-one+{url}") } else { format!("{url}/api") };
        let base = base_url(&address).expect("an address");
        let key = KEY.to_owned().into();
        let endpoint = Endpoint { base, key, parallelism: 8, per_second: None, timeout: None, vision_one_path: None };
        let conformity = Conformity::new(endpoint).expect("a client");
        Self { sims, folder: tempfile::tempdir().expect("a folder"), conformity, account }
    }

    fn write(&self, company: &Company) -> Checked {
        let dir = self.folder.path().join("conformity");
        for (name, value) in company {
            let text = serde_json::to_string_pretty(value)
                .expect("JSON")
                .replace("\"ACCOUNT\"", &format!("{:?}", self.account));
            put(&dir, name, &text);
        }
        valid(&dir)
    }

    async fn plan(&self, checked: &Checked) -> Plan {
        let options = PlanOptions {
            only: &[],
            tenant: self.conformity.base(),
            parallelism: 8,
            salt: "salt".to_owned(),
            now_ms: NOW,
            progress: &|_| {},
        };
        let plan = plan(&self.conformity, checked, options).await.expect("a plan");
        assert!(plan.is_whole(), "{plan:?}");
        plan
    }

    async fn apply(&self, checked: &Checked) -> Vec<apply::Outcome> {
        let dir = self.folder.path().join("conformity");
        let plan = self.plan(checked).await;
        let history = History::at(&dir.join("history.jsonl"), &dir);
        let apply = apply::Apply {
            conformity: &self.conformity,
            checked,
            history: &history,
            parallelism: 8,
            stop: Arc::new(AtomicBool::new(false)),
            now_ms: NOW,
            changes: dir.join("changes.jsonl"),
        };
        apply.run(&plan, &|| {}).await
    }

    /// The live state as files of another directory.
    async fn exported(&self) -> Checked {
        let api: &dyn ReadConformity = &self.conformity;
        let accounts = actual::accounts(api).await.expect("accounts");
        let organisation = actual::organisation(api, String::new(), 4, &|_| true).await;
        let wanted = accounts.into_iter().map(|account| (account, actual::Sections::ALL)).collect();
        let accounts = actual::read(api, wanted, 4, &|| {}).await;
        let dir = self.folder.path().join("exported");
        for (name, text) in export::files(self.conformity.base(), &organisation, &accounts) {
            put(&dir, &name, &text);
        }
        valid(&dir)
    }
}

fn put(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, text).expect("written");
}

fn valid(dir: &Path) -> Checked {
    let checked = check(dir, &[]).expect("a catalogue");
    let problems: Vec<String> = checked.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, Vec::<String>::new());
    checked
}

/// Kinds and names of what is left.
fn left(plan: &Plan) -> Vec<(String, String, Value)> {
    let changes = plan.sections.iter().flat_map(|section| &section.changes);
    changes.map(|it| (it.kind.as_str().to_owned(), it.name.clone(), json!(it.fields))).collect()
}

async fn holds(switches: Switches, states: [Company; 2]) {
    let world = World::new(&switches).await;
    for company in &states {
        let checked = world.write(company);
        let outcomes = world.apply(&checked).await;
        let plan = world.plan(&checked).await;
        let bad: Vec<_> = outcomes.iter().filter(|outcome| !outcome.is_good()).collect();
        if switches.tags == Write::Merges && !bad.is_empty() {
            // A tag that can't be taken away is told by the apply that tried, and by the next plan.
            assert!(
                bad.iter().all(|it| it.failures.is_empty() && it.differences.iter().all(|it| it.ends_with(": tags"))),
                "{bad:?}"
            );
            assert!(left(&plan).iter().all(|(kind, ..)| kind == "account") && !plan.is_empty(), "{:?}", left(&plan));
        } else {
            assert!(bad.is_empty(), "{bad:?} {:?}", left(&plan));
            assert!(plan.is_empty(), "after an apply: {:?}", left(&plan));
        }
    }
    let writes = world.sims.conformity.stats()["writes"].clone();
    let plan = world.plan(&world.exported().await).await;
    assert!(plan.is_empty(), "after an export: {:?}", left(&plan));
    assert_eq!(world.sims.conformity.stats()["writes"], writes, "neither plan nor export writes");
}

#[test]
fn a_plan_after_an_apply_and_after_an_export_is_empty_for_any_company() {
    let long = std::env::var_os("FINDINGS_ROUTER_LONG_TESTS").is_some();
    let config = Config { cases: if long { 400 } else { 6 }, failure_persistence: None, ..Config::default() };
    let mut runner = if long {
        TestRunner::new(config)
    } else {
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let cases = switches().prop_flat_map(|switches| {
        let vision_one = switches.vision_one;
        (Just(switches), [company(vision_one), company(vision_one)])
    });
    let result = runner.run(&cases, |(switches, states)| {
        // A failed assertion is a panic: the runner makes the case smaller.
        runtime.block_on(holds(switches, states));
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
