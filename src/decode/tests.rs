use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::finding::{Risk, Status};

const CHECK: &str = r#"{"id":"ccc:e1234fad:S3-026:S3:global:example-public-bucket","organisationId":"102642678400","accountId":"e1234fad","accountName":"payments-prod","provider":"aws","cloudProviderId":"012345678901","ruleId":"S3-026","ruleTitle":"Enable S3 Block Public Access","service":"S3","region":"global","riskLevel":"MEDIUM","categories":["security"],"compliances":["AWAF"],"message":"Bucket is \"open\".","resource":"example-public-bucket","descriptorType":"s3-bucket","status":"FAILURE","lastStatusUpdateDate":1719906719224,"ccrn":"ccrn:aws:e1234fad:S3:ap-southeast-2:example-public-bucket","extradata":[{"name":"LocationConstraint","label":"x","type":"META","value":"ap-southeast-2"}],"tags":["Environment::prod","url::https://x.example::8443","bare"],"cost":0,"waste":"0","lastModifiedDate":"1720309659393","vendorField":{"a":[1,2]},"resolutionPageUrl":"https://kb.example/x#1"}"#;

fn decode_text(text: &str) -> Decoded {
    decode(&RawMessage { body: text.as_bytes().to_vec(), received_at: 5, ..RawMessage::default() })
}

fn one(text: &str) -> Finding {
    let mut decoded = decode_text(text);
    assert_eq!(decoded.rejected, [], "{text}");
    assert_eq!(decoded.findings.len(), 1, "{text}");
    decoded.findings.remove(0)
}

fn reason(text: &str) -> DecodeError {
    let mut decoded = decode_text(text);
    assert!(decoded.findings.is_empty(), "{text}");
    decoded.rejected.remove(0).reason
}

#[test]
fn every_known_field_is_read_and_the_text_is_kept() {
    let finding = one(CHECK);
    assert_eq!(&*finding.json, CHECK);
    assert_eq!((&finding.risk, &finding.status), (&Risk::Medium, &Status::Failure));
    assert_eq!(finding.cloud_account, "012345678901");
    assert_eq!(finding.message, "Bucket is \"open\".");
    assert_eq!(finding.tags[1], ("url".into(), "https://x.example::8443".into()));
    assert_eq!(finding.tags[2], ("bare".into(), String::new()));
    assert_eq!(compliances(&finding), ["AWAF"]);
    assert_eq!(evidence(&finding), [("LocationConstraint".into(), "ap-southeast-2".into())]);
    assert_eq!(finding.version.time_ms, 1_720_309_659_393);
    assert_eq!(finding.modified_at, Some(1_720_309_659_393));
    assert_eq!(finding.event_id.len(), 64);
}

#[test]
fn dates_are_read_as_numbers_and_as_text() {
    let at = 1_795_000_000_000_i64;
    let written = ["1795000000000", "\"1795000000000\"", "1.795e12"];
    let dates = ["\"2026-11-18T11:06:40Z\"", "\"2026-11-18T11:06:40.000+00:00\"", "\"2026-11-18T22:06:40+11:00\""];
    for text in written.into_iter().chain(dates) {
        let check = format!(
            r#"{{"id":"a","ruleId":"S3-1","status":"FAILURE","lastModifiedDate":{text},"failureDiscoveryDate":{text},"ttl":{text}}}"#
        );
        let finding = one(&check);
        let read = (finding.version.time_ms, finding.discovered_at, finding.ttl);
        assert_eq!(read, (at, Some(at), Some(at)), "{text}");
    }
    for text in ["9223372036854775807", "\"99999999999999999\"", "0", "-5", "\"yesterday\"", "\"\"", "null"] {
        let finding = one(&format!(r#"{{"id":"a","ruleId":"S3-1","status":"FAILURE","ttl":{text}}}"#));
        assert_eq!(finding.ttl, None, "{text}");
    }
}

#[test]
fn an_account_that_lost_its_zeros_as_a_number_gets_them_back() {
    let account = |provider: &str, id: &str| {
        let fields = format!(r#""provider":"{provider}","cloudProviderId":{id}"#);
        one(&format!(r#"{{"id":"a","ruleId":"S3-1","status":"FAILURE",{fields}}}"#)).cloud_account
    };
    assert_eq!(account("aws", "12345678901"), "012345678901");
    assert_eq!(account("AWS", "\"12345\""), "000000012345");
    assert_eq!(account("aws", "\"a1\""), "a1");
    assert_eq!(account("aws", "\"\""), "");
    assert_eq!(account("gcp", "12345"), "12345");
}

#[test]
fn kebab_case_beside_camel_case_is_read_and_what_is_there_twice_stays() {
    let finding = one(
        r#"{"id":"a","ruleId":"S3-1","status":"FAILURE","risk-level":"HIGH","last-modified-date":7,"link":"x","link-title":"y"}"#,
    );
    assert_eq!((&finding.risk, finding.version.time_ms), (&Risk::High, 7));
    let both = r#"{"id":"a","ruleId":"S3-1","status":"FAILURE","riskLevel":"LOW","risk-level":"HIGH"}"#;
    let finding = one(both);
    assert_eq!((&finding.risk, &*finding.json), (&Risk::Low, both));
    let known = r#"{"id":"a","ruleId":"S3-1","status":"FAILURE","resolution-page-url":"x","link-title":"y"}"#;
    assert_eq!(&*one(known).json, known, "spellings of the events stay as they came");
}

fn envelopes(check: &str) -> Vec<(&'static str, String)> {
    let sns = |message: &str| json!({ "Type": "Notification", "TopicArn": "arn:aws:sns:x:1:t", "Message": message });
    let parsed: Value = serde_json::from_str(check).expect("a check");
    vec![
        ("raw", check.to_owned()),
        ("byte order mark", format!("\u{feff}{check}")),
        ("sns", sns(check).to_string()),
        ("sns in sns", sns(&sns(check).to_string()).to_string()),
        ("array", format!("[{check}]")),
        ("json string", json!(check).to_string()),
        ("eventbridge", json!({ "version": "0", "detail-type": "x", "detail": parsed }).to_string()),
        ("lambda sns", json!({ "Records": [{ "EventSource": "aws:sns", "Sns": { "Message": check } }] }).to_string()),
        ("lambda sqs", json!({ "Records": [{ "messageId": "1", "body": sns(check).to_string() }] }).to_string()),
        ("data", json!({ "data": [parsed] }).to_string()),
    ]
}

#[test]
fn q1_the_same_check_has_the_same_event_id_in_every_envelope() {
    let expected = one(CHECK).event_id;
    for (name, body) in envelopes(CHECK) {
        assert_eq!(one(&body).event_id, expected, "{name}");
    }
}

#[test]
fn a_field_called_message_makes_no_envelope_of_a_check() {
    for value in ["\"x\"", "\"x\\ud800\"", "7", "null", "{\"a\":1}"] {
        let text = CHECK.replacen('{', &format!("{{\"Message\":{value},"), 1);
        let finding = one(&text);
        assert_eq!(&*finding.json, text);
        let known = finding.version == one(CHECK).version;
        assert_eq!(known, value == "null", "{value}: a field that says something is another version");
    }
    // Of an envelope that says it twice, the last one counts.
    let envelope = json!({ "Type": "Notification", "TopicArn": "a", "Message": CHECK }).to_string();
    let twice = envelope.replacen('{', "{\"Message\":\"lost\",", 1);
    assert_eq!(one(&twice).event_id, one(CHECK).event_id);
}

#[test]
fn a_check_of_the_api_is_brought_to_the_shape_of_the_events() {
    let body = json!({ "data": { "type": "checks", "id": "ccc:acc:S3-001:S3:us-west-2:b:c/d",
        "attributes": { "region": "us-west-2", "status": "FAILURE", "risk-level": "VERY_HIGH", "rule-title": "T",
            "last-modified-date": 7, "failure-discovery-date": 6, "resolution-page-url": "https://kb", "odd-key": 1 },
        "relationships": { "rule": { "data": { "type": "rules", "id": "S3-001" } },
            "account": { "data": { "type": "accounts", "id": "acc" } } } } });
    let finding = one(&body.to_string());
    assert_eq!((finding.rule_id.as_str(), finding.account_id.as_str()), ("S3-001", "acc"));
    assert_eq!((finding.risk, finding.resource.as_str()), (Risk::VeryHigh, "b:c/d"));
    let json: Value = serde_json::from_str(&finding.json).expect("JSON");
    assert_eq!((&json["riskLevel"], &json["odd-key"]), (&json!("VERY_HIGH"), &json!(1)));
    let flat = json!({ "id": "ccc:acc:S3-001:S3:us-west-2:b:c/d", "accountId": "acc", "ruleId": "S3-001",
        "region": "us-west-2", "status": "FAILURE", "riskLevel": "VERY_HIGH", "ruleTitle": "T",
        "lastModifiedDate": "7", "failureDiscoveryDate": 6, "resolutionPageURL": "https://kb", "odd-key": 1 });
    assert_eq!(one(&flat.to_string()).event_id, finding.event_id);
}

#[test]
fn a_check_of_the_api_loses_nothing_that_stands_beside_its_attributes() {
    let resource = json!({ "type": "checks", "id": "a", "attributes": { "status": "FAILURE", "links": 5 },
        "meta": { "page": 1 }, "links": { "self": "/checks/a" },
        "relationships": { "rule": { "data": { "type": "rules", "id": "S3-1" } }, "conversation": { "data": null } } });
    let json: Value = serde_json::from_str(&one(&resource.to_string()).json).expect("JSON");
    let flat = json!({ "id": "a", "ruleId": "S3-1", "status": "FAILURE", "links": 5, "meta": { "page": 1 },
        "relationships": { "conversation": { "data": null } } });
    assert_eq!(json, flat);
}

#[test]
fn what_is_missing_is_taken_from_id_and_ccrn() {
    let finding = one(r#"{"id":"ccc:ryi6:RTM-008:RTM:us-east-1:","ruleId":"RTM-008","status":"FAILURE"}"#);
    assert_eq!(
        (finding.account_id.as_str(), finding.region.as_str(), finding.resource.as_str()),
        ("ryi6", "us-east-1", "")
    );
    let finding =
        one(r#"{"ccrn":"ccrn:azure:acc:KeyVault:eastus:/subs/a:b","ruleId":"KV-1","status":"SUCCESS","tags":null}"#);
    assert_eq!(finding.id, "ccc:acc:KV-1:KeyVault:eastus:/subs/a:b");
    assert_eq!(finding.provider, "azure");
}

#[test]
fn an_array_keeps_the_neighbours_of_a_bad_element() {
    let decoded = decode_text(&format!("[{CHECK},{{\"ruleId\":\"x\"}},7,{CHECK}]"));
    assert_eq!((decoded.findings.len(), decoded.rejected.len()), (2, 2));
}

#[test]
fn the_test_message_is_counted_and_not_parked() {
    for body in [
        "Test Message from Cloud Conformity",
        "  TEST MESSAGE FROM trend",
        r#"{"Type":"Notification","TopicArn":"a","Message":"Test message from Conformity"}"#,
    ] {
        let decoded = decode_text(body);
        assert_eq!((decoded.tests, decoded.rejected.len()), (1, 0), "{body}");
    }
}

#[test]
fn everything_else_is_rejected_with_its_reason() {
    assert_eq!(reason("  "), DecodeError::Empty);
    assert_eq!(reason("[]"), DecodeError::NotAnObject("empty array"));
    assert_eq!(reason("17"), DecodeError::NotAnObject("scalar"));
    assert!(matches!(reason("{\"a\":"), DecodeError::NotJson(text) if text.contains("line 1")));
    assert_eq!(reason("{}"), DecodeError::Missing("ruleId"));
    assert_eq!(reason(r#"{"ruleId":"a","id":"b"}"#), DecodeError::Missing("status"));
    assert_eq!(reason(r#"{"ruleId":"a","status":"FAILURE","id":""}"#), DecodeError::Missing("id (and ccrn)"));
    assert_eq!(reason(r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{}]"#), DecodeError::S3Pointer);
    let confirm = r#"{"Type":"SubscriptionConfirmation","TopicArn":"a","Message":"You have chosen"}"#;
    assert!(matches!(reason(confirm), DecodeError::Confirmation(_)));
    let invalid = decode(&RawMessage { body: b"{\"id\":\"\xff\"}".to_vec(), ..RawMessage::default() });
    assert_eq!(invalid.rejected[0].reason, DecodeError::NotUtf8 { at: 7 });
}

#[test]
fn hostile_bodies_are_rejected_and_never_overflow() {
    assert!(matches!(reason(&"[".repeat(100_000)), DecodeError::NotJson(_) | DecodeError::TooDeep));
    let deep = format!("{}{CHECK}{}", "[".repeat(20), "]".repeat(20));
    assert_eq!(reason(&deep), DecodeError::TooDeep);
    let large = decode_text(&"x".repeat(3 << 20));
    assert_eq!(large.rejected[0].body.len(), 1 << 20);
    let tags: Vec<String> = (0..10_000).map(|n| format!("k{n}::v")).collect();
    let check = json!({ "id": "ccc:a:R:S:r:x", "ruleId": "R", "status": "FAILURE", "tags": tags, "message": "m".repeat(200_000) });
    assert_eq!(one(&check.to_string()).tags.len(), 10_000);
    assert_eq!(one(r#"{"id":"ccc:a:R:S:r:x","ruleId":"R","status":"FAILURE","message":"\ud800 x"}"#).rule_id, "R");
}

#[test]
fn another_message_at_the_same_time_is_another_version() {
    let changed = CHECK.replace("example-public-bucket\",\"descriptorType", "b2\",\"descriptorType");
    assert_ne!(one(&changed).version, one(CHECK).version);
    let volatile = CHECK.replace("\"vendorField\"", "\"eventId\":\"new\",\"vendorField\"");
    assert_eq!(one(&volatile).event_id, one(CHECK).event_id);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        decode(&RawMessage { body, ..RawMessage::default() });
    }

    #[test]
    fn a_damaged_check_never_panics_and_never_vanishes(at in 0..CHECK.len(), byte in any::<u8>()) {
        let mut body = CHECK.as_bytes().to_vec();
        body[at] = byte;
        let decoded = decode(&RawMessage { body, ..RawMessage::default() });
        prop_assert_eq!(decoded.findings.len() + decoded.rejected.len(), 1);
    }

    #[test]
    fn the_text_that_is_kept_is_the_same_version(at in 0..CHECK.len(), byte in any::<u8>(), wrap in 0..10_usize) {
        let mut body = envelopes(CHECK)[wrap].1.clone().into_bytes();
        let at = at % body.len();
        body[at] = byte;
        let decoded = decode(&RawMessage { body, received_at: 5, ..RawMessage::default() });
        for finding in &decoded.findings {
            let again = one(&finding.json);
            prop_assert_eq!(&again.event_id, &finding.event_id);
        }
    }

    #[test]
    fn unknown_fields_are_never_lost(key in "[a-z]{12}", value in "\\PC{0,40}") {
        let mut check: Value = serde_json::from_str(CHECK).expect("a check");
        check[&key] = json!(value);
        for (name, body) in envelopes(&check.to_string()) {
            let kept: Value = serde_json::from_str(&one(&body).json).expect("JSON");
            prop_assert_eq!(&kept, &check, "{}", name);
        }
    }
}

#[test]
fn an_empty_list_of_records_is_rejected_and_does_not_vanish() {
    assert_eq!(reason(r#"{"Records":[]}"#), DecodeError::NotAnObject("empty array"));
}

#[test]
fn a_bad_record_does_not_take_the_good_one_with_it() {
    let decoded = decode_text(&json!({ "Records": [7, { "body": CHECK }, { "Sns": {} }] }).to_string());
    assert_eq!((decoded.findings.len(), decoded.rejected.len()), (1, 2));
}

#[test]
fn a_check_that_only_mentions_a_pointer_does_not_suppress_its_neighbours() {
    let named = CHECK.replace("payments-prod", "PayloadS3Pointer");
    assert_eq!(decode_text(&format!("[{named},{CHECK}]")).findings.len(), 2);
}

#[test]
fn an_activity_event_of_the_api_is_no_check() {
    let event = json!({ "type": "events", "id": "rJ", "attributes": { "status": "FAILURE" },
        "relationships": { "rule": { "data": { "type": "rule", "id": "RTM-008" } } } });
    assert_eq!(reason(&event.to_string()), DecodeError::OtherType("events".to_owned()));
}

#[test]
fn however_json_writes_a_check_it_is_the_same_version() {
    let plain = r#"{"id":"a","ruleId":"S3-1","status":"FAILURE","message":"Zürich ☃","tags":["Büro::1"],"extradata":[{"name":"é","value":{"b":"x y","a":1}}]}"#;
    let escaped = r#"{ "status" : "FAILURE", "ruleId":"S3\u002d1", "id":"a","message":"Z\u00fcrich \u2603", "tags":[ "B\u00fcro::1" ],
        "extradata": [{"value": {"a":1,"b":"x y"},"name":"\u00e9"}]}"#;
    assert_eq!(one(escaped).event_id, one(plain).event_id);
    assert_eq!(one(escaped).tags, one(plain).tags);
}

#[test]
fn of_a_repeated_key_the_last_one_counts_everywhere() {
    let once = one(r#"{"id":"a","ruleId":"S3-1","status":"FAILURE","message":"m"}"#);
    let twice = one(r#"{"id":"b","ruleId":"S3-1","status":"FAILURE","message":"old","id":"a","message":"m"}"#);
    assert_eq!((&twice.id, &twice.message, &twice.event_id), (&once.id, &once.message, &once.event_id));
}

#[test]
fn a_flat_check_in_kebab_case_is_read_like_one_in_camel_case() {
    let camel =
        one(r#"{"id":"a","ruleId":"S3-1","status":"FAILURE","riskLevel":"HIGH","lastModifiedDate":7,"vendor-key":1}"#);
    let kebab = one(
        r#"{"id":"a","rule-id":"S3-1","status":"FAILURE","risk-level":"HIGH","last-modified-date":7,"vendor-key":1}"#,
    );
    assert_eq!(kebab.event_id, camel.event_id);
    assert_eq!(&*kebab.json, &*camel.json);
}

#[test]
fn what_a_tree_of_values_would_refuse_is_kept_as_it_is_written() {
    let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    for odd in [deep.as_str(), r#""\ud800""#, "1e999", r#"{"a":"\udc00 x"}"#] {
        let flat = one(&format!(r#"{{"id":"a","ruleId":"S3-1","status":"FAILURE","odd-key":{odd}}}"#));
        assert!(flat.json.contains(odd), "{odd}");
        let api = one(&format!(
            r#"{{"data":{{"type":"checks","id":"a","attributes":{{"status":"FAILURE","odd-key":{odd}}},"relationships":{{"rule":{{"data":{{"id":"S3-1"}}}}}}}}}}"#
        ));
        assert!(api.json.contains(odd), "{odd}");
        assert_eq!(api.event_id, flat.event_id, "{odd}");
    }
}

#[test]
fn a_lone_surrogate_or_a_byte_order_mark_in_an_envelope_costs_no_check() {
    let check = r#"{\"id\":\"a\",\"ruleId\":\"S3-1\",\"status\":\"FAILURE\",\"message\":\"x"#;
    let finding = one(&format!(r#"{{"TopicArn":"t","Message":"\ufeff{check}\ud800y\"}}"}}"#));
    assert!(finding.message.starts_with('x') && finding.message.ends_with('y'), "{}", finding.message);
}

#[test]
fn blank_names_are_no_names() {
    for (text, what) in [
        (r#"{"id":" ","ruleId":"S3-1","status":"FAILURE"}"#, "id (and ccrn)"),
        (r#"{"id":"a","ruleId":"\t","status":"FAILURE"}"#, "ruleId"),
        (r#"{"id":"a","ruleId":"S3-1","status":" "}"#, "status"),
    ] {
        assert_eq!(reason(text), DecodeError::Missing(what), "{text}");
    }
}

#[test]
fn a_message_of_countless_parts_that_are_no_checks_is_one_dead_letter_with_all_of_it() {
    let check = r#"{"id":"ccc:a:S3-001:S3:global:b","ruleId":"S3-001","status":"SUCCESS"}"#;
    let body = format!("[{}{check}]", "1,".repeat(50_000));
    let decoded = decode(&RawMessage { body: body.clone().into_bytes(), ..RawMessage::default() });
    assert_eq!((decoded.findings.len(), decoded.rejected.len()), (1, 1), "what is a check is taken");
    assert_eq!(decoded.rejected[0].reason, DecodeError::TooMany(50_000));
    assert_eq!(decoded.rejected[0].body, body);
}

#[test]
fn names_that_would_not_fit_into_a_key_are_refused() {
    let long = "x".repeat(MAX_NAME + 1);
    for (field, body) in [
        (
            "accountId",
            format!(r#"{{"id":"ccc:a:S3-001:S3:g:b","accountId":"{long}","ruleId":"S3-001","status":"SUCCESS"}}"#),
        ),
        ("accountId", format!(r#"{{"id":"ccc:{long}:S3-001:S3:g:b","ruleId":"S3-001","status":"SUCCESS"}}"#)),
        ("ruleId", format!(r#"{{"id":"ccc:a:S3-001:S3:g:b","ruleId":"{long}","status":"SUCCESS"}}"#)),
    ] {
        let decoded = decode(&RawMessage { body: body.into_bytes(), ..RawMessage::default() });
        assert_eq!(
            decoded.rejected.iter().map(|part| &part.reason).collect::<Vec<_>>(),
            [&DecodeError::TooLong(field)]
        );
    }
}

#[test]
fn a_time_beyond_all_times_counts_as_absent() {
    for (time, read) in [
        ("1795000000000", Some(1_795_000_000_000)),
        ("\"1795000000000\"", Some(1_795_000_000_000)),
        ("9223372036854775807", None),
        ("1000000000000000", None),
        ("1e300", None),
        ("-1e300", None),
        ("0", None),
    ] {
        let body =
            format!(r#"{{ "id": "c", "ruleId": "S3-001", "status": "FAILURE", "failureDiscoveryDate": {time} }}"#);
        let decoded = decode(&RawMessage { body: body.into_bytes(), ..RawMessage::default() });
        let finding = decoded.findings.first().unwrap_or_else(|| panic!("{time}: {decoded:?}"));
        assert_eq!(finding.discovered_at, read, "{time}");
    }
}
