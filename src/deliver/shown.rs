//! The notice of a row as its target gets it: with the members of a roll-up or a digest, and a link to all of them.

use connectors::{Notice, fingerprint};

use super::LinkHosts;
use crate::store::{Before, Loaded};

/// Where `search_link` of router.yaml holds what to search for.
pub const QUERY: &str = "{query}";

/// The payload as it was stored, brought up to date.
pub fn notice(row: &Loaded, search_link: Option<&str>, hosts: &LinkHosts) -> Notice {
    let mut notice = row.payload.notice.clone();
    notice.fix_url = notice.fix_url.map(|address| hosts.shown(&address));
    // As text it is of no use to anybody.
    notice.console_url = notice.console_url.filter(|address| hosts.trusts(address));
    notice.members.clone_from(&row.members);
    notice.member_count = row.member_count;
    // The fingerprint stands in every record that was routed here.
    notice.search_url = search_link.map(|link| link.replace(QUERY, &format!("fr-{}", fingerprint(&row.key))));
    notice.delta = row.before.map(|before| delta(row.member_count, before));
    match row.members.as_slice() {
        [] => {}
        [one] if row.member_count == 1 => only(&mut notice, one.clone()),
        all => {
            let rules = all.iter().filter_map(|member| member.title.as_deref());
            let several = rules.clone().any(|title| Some(title) != rules.clone().next());
            of_many(&mut notice, row.account_count, several);
        }
    }
    notice
}

/// One member is left: it need not be the one that the payload is about.
fn only(notice: &mut Notice, member: connectors::Member) {
    if member.check_id == notice.check_id {
        return;
    }
    let kept = Notice {
        check_id: member.check_id,
        resource: member.resource,
        account_name: member.account_name,
        region: member.region,
        failing_since_ms: member.failing_since_ms,
        ..notice.clone()
    };
    *notice = Notice { message: String::new(), account_id: String::new(), ..without_resource(kept) };
}

/// What is true of one member only has no place above a table of many.
fn of_many(notice: &mut Notice, accounts: usize, several_rules: bool) {
    let mut kept = without_resource(notice.clone());
    kept.message = String::new();
    kept.resource = String::new();
    kept.check_id = String::new();
    kept.region = String::new();
    if accounts > 1 {
        kept.account_id = String::new();
        kept.cloud_account = String::new();
        kept.account_name = format!("{accounts} accounts");
    } else {
        kept.cloud_account = notice.cloud_account.clone();
    }
    if several_rules {
        kept.rule_id = String::new();
        kept.fix_url = None;
    }
    kept.failing_since_ms = notice.members.iter().filter_map(|member| member.failing_since_ms).min();
    *notice = kept;
}

fn without_resource(notice: Notice) -> Notice {
    Notice {
        resource_type: String::new(),
        cloud_account: String::new(),
        ccrn: String::new(),
        console_url: None,
        owner: None,
        tags: Vec::new(),
        extra: Vec::new(),
        introduced_by: None,
        ticket: None,
        ..notice
    }
}

fn delta(new: usize, Before { told, pass }: Before) -> String {
    let fail = told.saturating_sub(pass);
    format!("{new} new. Of {told} in the digest before this one, {pass} pass by now and {fail} still fail.")
}

#[cfg(test)]
mod tests {
    use connectors::Member;

    use super::*;

    fn row(members: Vec<Member>, count: usize) -> Loaded {
        let notice = Notice {
            title: "Bucket is public".into(),
            check_id: "c:first".into(),
            resource: "first".into(),
            message: "first is public".into(),
            account_name: "payments".into(),
            cloud_account: "111122223333".into(),
            region: "us-east-1".into(),
            tags: vec![("Owner".into(), "ann".into())],
            ..Notice::default()
        };
        Loaded { members, member_count: count, ..Loaded::of(notice) }
    }

    fn member(resource: &str) -> Member {
        Member {
            check_id: format!("c:{resource}"),
            resource: resource.into(),
            account_name: "identity".into(),
            region: "eu-west-1".into(),
            failing_since_ms: Some(5),
            title: None,
        }
    }

    #[test]
    fn one_finding_is_told_in_full() {
        let shown = notice(&row(vec![member("first")], 1), None, &LinkHosts::default());
        assert_eq!(
            (shown.message.as_str(), shown.tags.len(), shown.region.as_str()),
            ("first is public", 1, "us-east-1")
        );
    }

    #[test]
    fn the_last_of_a_roll_up_is_told_as_itself_and_not_as_who_was_first() {
        let shown = notice(&row(vec![member("second")], 1), None, &LinkHosts::default());
        assert_eq!((shown.resource.as_str(), shown.account_name.as_str()), ("second", "identity"));
        assert!(shown.message.is_empty() && shown.tags.is_empty() && shown.cloud_account.is_empty());
    }

    #[test]
    fn above_a_table_stands_only_what_is_true_of_all() {
        let many = Loaded { account_count: 2, ..row(vec![member("a"), member("b")], 40) };
        let shown = notice(&many, Some("https://splunk/search?q={query}"), &LinkHosts::default());
        assert_eq!((shown.account_name.as_str(), shown.message.as_str()), ("2 accounts", ""));
        assert_eq!((shown.member_count, shown.failing_since_ms), (40, Some(5)));
        let url = shown.search_url.expect("a link");
        assert!(url.starts_with("https://splunk/search?q=fr-") && url.len() > 50, "{url}");
    }

    #[test]
    fn a_digest_says_what_became_of_the_one_before() {
        let digest = Loaded { before: Some(Before { told: 14, pass: 3 }), ..row(vec![member("a"), member("b")], 2) };
        let delta = notice(&digest, None, &LinkHosts::default()).delta.expect("a delta");
        assert_eq!(delta, "2 new. Of 14 in the digest before this one, 3 pass by now and 11 still fail.");
    }
}
