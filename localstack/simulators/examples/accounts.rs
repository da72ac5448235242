//! Prints the accounts of a generated company as the table of `examples/conformity`.
//!
//! `cargo run -p simulators --example accounts > examples/conformity/vars/accounts.yaml`

fn main() {
    println!("# One row for each account: what differs from account to account stands here and nowhere else.");
    println!("accounts:");
    for account in simulators::scan::accounts(7, 140) {
        println!(
            "  - {{ id: \"{}\", name: {}, env: {}, team: {}, cloud: {} }}",
            account.cloud_account, account.name, account.env, account.team, account.provider
        );
    }
}
