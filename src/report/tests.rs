use super::*;
use crate::route::{Level, RouteLimits, Routes, lint};

const NOW: i64 = 1_795_430_000_000;

fn finding(id: i64, rule: &str, risk: &str) -> NoiseFinding {
    NoiseFinding {
        id,
        check_id: format!("ccc:acc:{rule}:S3:global:b{id}"),
        rule_id: rule.to_owned(),
        rule_title: "A <script>alert(1)</script> title | `code`\u{1b}[31m".to_owned(),
        account: "payments-prod".to_owned(),
        account_id: format!("acc{}", id % 3),
        risk: risk.to_owned(),
        failing: true,
        times_failed: 1,
        opened_at: Some(NOW - 5 * DAY),
        json: serde_json::json!({ "id": format!("ccc:acc:{rule}:S3:global:b{id}"), "accountId": "acc", "ruleId": rule,
            "status": "FAILURE", "riskLevel": risk, "lastModifiedDate": NOW, "tags": [format!("Team::team-{}", id % 2)] })
        .to_string()
        .into_bytes(),
        ..NoiseFinding::default()
    }
}

fn interrupt(finding: i64, days_ago: i64) -> Told {
    Told { finding, target: "soc".to_owned(), at: NOW - days_ago * DAY - 1 }
}

/// A rule that flaps, one that is put right by itself, one that nobody acts on, and one that is too bad to suggest anything.
fn busy() -> NoiseReport {
    let mut findings = Vec::new();
    let mut interrupts = Vec::new();
    for id in 0..5 {
        findings.push(NoiseFinding { flapping: true, times_failed: 9, ..finding(id, "S3-001", "HIGH") });
        let resolved = Some(NOW - 5 * DAY + 3_600_000);
        findings.push(NoiseFinding { failing: false, resolved_at: resolved, ..finding(10 + id, "EC2-001", "MEDIUM") });
        findings.push(finding(20 + id, "IAM-9'\"\n", "LOW"));
        findings.push(NoiseFinding { flapping: true, ..finding(30 + id, "KMS-001", "EXTREME") });
        for base in [0, 10, 20, 30] {
            interrupts.push(interrupt(base + id, id % 2));
        }
    }
    interrupts.push(interrupt(0, 0));
    let tickets = [0, 3, 20, 45, 400].map(|days| OpenTicket {
        target: "soc".to_owned(),
        name: "SOC-1".to_owned(),
        since: NOW - days * DAY,
    });
    report(&findings, &interrupts, &tickets, (NOW - 30 * DAY, NOW), &Allowed { each: 5, ..Allowed::default() })
}

#[test]
fn noise_is_counted_by_rule_owner_day_age_and_time_to_fix() {
    let report = busy();
    assert_eq!((report.interrupts, report.by_day.len()), (21, 30));
    assert_eq!(report.by_day.iter().sum::<usize>(), 21);
    assert_eq!((report.rules[0].rule.as_str(), report.rules[0].interrupts, report.rules[0].accounts), ("S3-001", 6, 3));
    assert_eq!(report.flappers.len(), 10);
    assert_eq!(report.flappers[0].times_failed, 9);
    // Team 0 has three of five: twelve and one more, all on one day.
    let owner = &report.owners[0];
    assert_eq!(
        (owner.owner.as_str(), owner.interrupts, owner.worst_day, owner.days_over_budget),
        ("team-0", 13, 13, 1)
    );
    assert_eq!(owner.because_of, "S3-001 (4)");
    assert_eq!(report.time_to_fix, [FixTime { risk: "MEDIUM".to_owned(), fixed: 5, median_hours: 1, p90_hours: 1 }]);
    assert_eq!(report.tickets_by_age.iter().map(|age| age.tickets).collect::<Vec<_>>(), [1, 1, 1, 1, 1]);
}

#[test]
fn what_is_suggested_fits_the_noise_and_never_concerns_the_worst() {
    let kinds: Vec<_> = busy().suggestions.into_iter().map(|suggestion| (suggestion.kind, suggestion.spares)).collect();
    assert_eq!(kinds, [(SuggestionKind::DampFlapping, 6), (SuggestionKind::Wait, 5), (SuggestionKind::SwitchOff, 5)]);
}

#[test]
fn git_applies_the_patches_and_the_scripts_in_them_compile_and_are_clean() {
    let folder = tempfile::tempdir().expect("a folder");
    let git = |args: &[&str]| {
        let done = std::process::Command::new("git").args(args).current_dir(folder.path()).output().expect("git");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    git(&["init", "-q"]);
    std::fs::create_dir(folder.path().join("routes")).expect("a folder");
    std::fs::write(folder.path().join("routes/a.rhai"), "fn route(finding) { [] }").expect("written");
    for patch in patches(&busy(), "routes", "conformity") {
        std::fs::write(folder.path().join(&patch.file), &patch.text).expect("written");
        git(&["apply", &patch.file]);
    }
    let routes = folder.path().join("routes");
    let loaded = Routes::load(&routes, &RouteLimits::default()).expect("they compile");
    assert_eq!(loaded.names().count(), 3);
    let hints = lint(&routes, &RouteLimits::default()).expect("read");
    assert!(hints.iter().all(|hint| hint.level != Level::Error), "{hints:?}");
    let profile =
        std::fs::read_to_string(folder.path().join("conformity/profiles/quiet-IAM-9.yaml")).expect("a profile");
    let profile: serde_json::Value = serde_saphyr::from_str(&profile).expect("YAML");
    assert_eq!(profile["rules"]["IAM-9'\"\n"]["enabled"], false);
}

#[test]
fn text_of_findings_is_markup_nowhere() {
    let report = busy();
    let page = html(&report);
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "{page}");
    assert!(page.contains("<svg") && !page.contains("http://") && !page.contains("https://"), "self-contained");
    let markdown = markdown(&report);
    assert!(!markdown.contains("<script") && !markdown.contains("title | `"), "{markdown}");
    assert!(!plain_text(&report).contains('\u{1b}'));
}

#[test]
fn a_report_of_nothing_is_a_report() {
    let report = report(&[], &[], &[], (NOW - DAY, NOW), &Allowed::default());
    assert_eq!(report.interrupts, 0);
    assert!(html(&report).contains("0 interrupts in 1 days"));
    assert!(plain_text(&report).starts_with("0 interrupts"));
}
