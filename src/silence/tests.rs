use super::*;

fn finding() -> Finding {
    Finding {
        id: "ccc:a:S3-001:S3:global:logs[1]".into(),
        account_id: "a".into(),
        account_name: "payments".into(),
        rule_id: "S3-001".into(),
        service: "S3".into(),
        resource: "logs[1]".into(),
        risk: Risk::High,
        tags: vec![("Team".into(), "data".into())],
        ..Finding::default()
    }
}

fn silence(id: i64, matchers: &[&str], expires_at: i64) -> Silence {
    Silence {
        id,
        matchers: matchers.iter().map(|text| (*text).to_owned()).collect(),
        author: "ann".into(),
        reason: "known".into(),
        expires_at,
        ..Silence::default()
    }
}

fn compiled(matchers: &[&str]) -> Compiled {
    Compiled::new(silence(1, matchers, 100)).expect("usable")
}

#[test]
fn all_matchers_and_one_value_of_each_must_match() {
    for (matchers, expected) in [
        (&["rule_id=S3-*", "env=dev"][..], true),
        (&["rule_id=IAM-*,S3-00?"], true),
        (&["rule_id=S3-*", "env=prod"], false),
        (&["rule_id={IAM,S3}-001"], true),
        (&["tag:team=data"], true),
        (&["tag:Owner=*"], false),
        (&["risk=high"], true),
        (&["resource=logs[1]"], true),
        (&["check_id=ccc:a:*"], true),
        (&["account_name=pay*", "service=EC2"], false),
    ] {
        assert_eq!(compiled(matchers).matches(&finding(), "dev"), expected, "{matchers:?}");
    }
}

#[test]
fn what_is_no_matcher_is_refused_with_a_suggestion() {
    for (text, expected) in [
        ("ruleid=S3", "did you mean `rule_id`?"),
        ("colour=red", "there are: rule_id, account_id"),
        ("rule_id", "write field=value"),
        ("rule_id=", "empty value"),
        ("rule_id=a,,b", "empty value"),
        ("tag:=x", "needs the tag's key"),
        ("rule_id=[", "`rule_id=[`"),
    ] {
        let problem = Matcher::parse(text).expect_err(text);
        assert!(problem.contains(expected), "{text}: {problem}");
    }
}

#[test]
fn a_silence_for_everything_is_recognised_however_it_is_written() {
    for matchers in [&["rule_id=*"][..], &["rule_id=**", "env=*"], &["risk=?*"], &["service={*,S3}"]] {
        assert!(compiled(matchers).is_for_everything(), "{matchers:?}");
    }
    for matchers in [&["rule_id=S3-*"][..], &["rule_id=*", "env=dev"], &["tag:Team=*"]] {
        assert!(!compiled(matchers).is_for_everything(), "{matchers:?}");
    }
}

#[test]
fn an_extreme_finding_is_muted_only_by_its_id_or_by_its_risk_in_words() {
    let extreme = Finding { risk: Risk::Extreme, ..finding() };
    for (matchers, expected) in [
        (&["rule_id=S3-001"][..], false),
        (&["risk=*"], false),
        (&["risk=EXT*"], false),
        (&["check_id=ccc:*"], false),
        (&["risk=HIGH,EXTREME"], true),
        (&["check_id=ccc:a:S3-001:S3:global:logs[1]"], true),
    ] {
        let (silences, problems) = Silences::compile([silence(1, matchers, 100)]);
        assert!(problems.is_empty());
        assert_eq!(!silences.holding_back(&extreme, "dev", &["soc"], 50).is_empty(), expected, "{matchers:?}");
        if matchers != ["risk=HIGH,EXTREME"] && !expected && matchers != ["risk=EXT*"] {
            assert!(!silences.holding_back(&finding(), "dev", &["soc"], 50).is_empty(), "{matchers:?}");
        }
    }
}

#[test]
fn of_two_silences_both_are_named_and_the_one_that_ends_last_counts() {
    let one = silence(1, &["rule_id=S3-*"], 200);
    let two = Silence { targets: vec!["soc".into()], ..silence(2, &["env=dev"], 300) };
    let (silences, _) = Silences::compile([one, two]);
    let held = silences.holding_back(&finding(), "dev", &["soc", "devs"], 100);
    assert_eq!(held.iter().map(|silence| silence.id).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(counting(&held), HashMap::from([("soc", 2), ("devs", 1)]));
    let held = silences.holding_back(&finding(), "dev", &["devs"], 250);
    assert!(held.is_empty(), "the first is over, the second is not about devs: {held:?}");
}

#[test]
fn each_word_of_a_silence_is_said_once_and_in_order() {
    let long = silence(1, &["rule_id=S3-*"], 3 * DAY_MS);
    assert_eq!(next_word(&long, 0, 1), Some(Word::Started));
    assert_eq!(next_word(&long, 1, DAY_MS), None);
    assert_eq!(next_word(&long, 1, 2 * DAY_MS), Some(Word::EndsSoon));
    assert_eq!(next_word(&long, 2, 2 * DAY_MS), None);
    assert_eq!(next_word(&long, 2, 3 * DAY_MS), Some(Word::Ended));
    assert_eq!(next_word(&long, 3, 4 * DAY_MS), None);
    let short = silence(1, &["rule_id=S3-*"], DAY_MS);
    assert_eq!(next_word(&short, 1, 10), None, "its beginning was notice enough");
}
