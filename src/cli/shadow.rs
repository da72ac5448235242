//! `routes shadow`.

use super::{Common, DONE, Format, Outcome, print, store::open};

pub fn shadow(common: &Common) -> Outcome {
    let rows = open(common)?.shadow()?;
    if common.format == Format::Json {
        print::json(&rows);
        return Ok(DONE);
    }
    let Some(newest) = rows.first().map(|row| (row.version.clone(), row.live_version.clone())) else {
        print::outln!("nothing was compared; `shadow_routes: ./routes-next` in router.yaml names candidate scripts");
        return Ok(DONE);
    };
    // Older pairs of versions are in the JSON.
    let rows: Vec<_> =
        rows.into_iter().filter(|row| (&row.version, &row.live_version) == (&newest.0, &newest.1)).collect();
    let all: i64 = rows.iter().filter(|row| row.kind == "agrees").map(|row| row.count).sum();
    let (agreed, differ): (i64, i64) = (all, rows.iter().filter(|row| row.kind != "agrees").map(|row| row.count).sum());
    print::outln!("candidate {} beside {}: agrees on {agreed} events, {differ} differences", newest.0, newest.1);
    let differences: Vec<_> = rows.into_iter().filter(|row| row.kind != "agrees").collect();
    let table = differences
        .iter()
        .map(|row| {
            vec![
                row.kind.clone(),
                row.target.clone(),
                row.rule.clone(),
                row.count.to_string(),
                print::time(row.last_at),
            ]
        })
        .collect();
    print::table(&["KIND", "TARGET", "RULE", "COUNT", "LAST (UTC)"], table, "no difference");
    for row in &differences {
        for sample in &row.samples {
            let text = |key: &str| print::plain(sample[key].as_str().unwrap_or_default());
            print::outln!(
                "{} {}\n  live:   {}\n  shadow: {}",
                row.kind,
                text("check_id"),
                text("live"),
                text("shadow")
            );
        }
    }
    Ok(DONE)
}
