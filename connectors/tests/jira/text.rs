//! Hostile text in tickets: valid documents, literal text, labels without white space.

use connectors::Verdict;

use super::*;
use crate::common::{deliver, delivery, hostile_notices};

#[tokio::test]
async fn j9_j24_every_document_is_valid_and_every_label_one_word() {
    let schema: Value = serde_json::from_str(include_str!("adf-schema.json")).expect("a schema");
    let validator = jsonschema::draft4::new(&schema).expect("compiles");
    for mut notice in hostile_notices() {
        notice.tags = vec![("a b".into(), "c\td\u{a0}e🦀".into())];
        let server = Server::answering([created()]).await;
        let mut one = delivery(notice);
        one.options.labels = vec!["two words".into(), "tab\there".into(), "🦀".into(), String::new(), "x".repeat(400)];
        let verdict = deliver(&*cloud(&server), &one).await;
        assert!(matches!(verdict, Verdict::Delivered { .. }), "{verdict:?}");
        let (_, _, body) = server.requests().await.remove(0);
        let fields = &body["fields"];
        let problems: Vec<String> = validator
            .iter_errors(&fields["description"])
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .collect();
        assert_eq!(problems, Vec::<String>::new());
        // Whether JIRA counts the text or the JSON around it is not documented.
        assert!(fields["description"].to_string().chars().count() <= 32_767);
        let summary = fields["summary"].as_str().expect("a summary");
        assert!((1..=255).contains(&summary.chars().count()) && !summary.contains(['\n', '\r']), "{summary}");
        for label in fields["labels"].as_array().expect("labels") {
            let label = label.as_str().expect("a text");
            assert!(
                !label.is_empty() && label.chars().count() <= 255 && !label.contains(char::is_whitespace),
                "{label:?}"
            );
        }
    }
}

#[tokio::test]
async fn j24_in_a_data_center_nothing_of_a_finding_is_markup() {
    for notice in hostile_notices() {
        let server = Server::answering([created()]).await;
        let connector = with(&server, json!({ "deployment": "datacenter", "email": null }));
        let verdict = deliver(&*connector, &delivery(notice)).await;
        assert!(matches!(verdict, Verdict::Delivered { .. }), "{verdict:?}");
        let (_, _, body) = server.requests().await.remove(0);
        let description = body["fields"]["description"].as_str().expect("a text");
        assert!(description.chars().count() <= 32_767, "{}", description.chars().count());
        // Within noformat everything is literal but its end.
        let parts: Vec<&str> = description.split("{noformat}").collect();
        assert_eq!(parts.len() % 2, 1, "a block that does not end: {description}");
        let description: String = parts.iter().step_by(2).copied().collect();
        for markup in ["{code}", "{color:red}", "[~", "{{jira}}", "!image.png!", "[link|https"] {
            let bare = description.match_indices(markup).find(|(at, _)| !description[..*at].ends_with('\\'));
            let around = bare.map(|(at, _)| description.get(at.saturating_sub(80)..at + 60));
            assert_eq!(around, None, "{markup}");
        }
    }
}
