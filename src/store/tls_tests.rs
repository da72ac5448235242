//! A database that speaks TLS: the connection is, and whoever answers in its place is told apart.

use super::{Access, Batch, Endpoint, Place, Store};

fn place(url: &str) -> Place {
    Place::Server(Box::new(Endpoint::parse(url).expect("an address")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_spoken_to_over_tls_and_only_with_a_certificate_of_the_authority_that_is_named() {
    let Some(server) = simulators::postgres::own() else { return };
    let Some(authority) = server.speak_tls().expect("TLS") else { return };
    let url = format!("{}?sslmode=require", server.database().expect("a database"));
    let named = format!("{url}&sslrootcert={}", authority.display());
    let store = Store::open(place(&named), Access::Router).expect("opened");
    store.commit(Batch { now_ms: 10, ..Batch::default() }).await.expect("committed");
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'findings-router'";
    assert_eq!(server.sql("postgres", encrypted).expect("asked"), "t");
    // The machine's own authorities know nothing of it.
    let refused = Store::open(place(&url), Access::Router).err().expect("refused").to_string();
    assert!(refused.contains("certificate"), "{refused}");
    // The right authority, and another name.
    let elsewhere = named.replace("127.0.0.1", "localhost");
    let refused = Store::open(place(&elsewhere), Access::Router).err().expect("refused").to_string();
    assert!(refused.contains("certificate"), "{refused}");
}
