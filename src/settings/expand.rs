//! `${NAME}`, `${NAME:-default}`, `${file:/run/secrets/x}` and `${aws-secret:ARN#key}` in scalars; `$${` is `${` as it stands.

use std::path::Path;

/// The text with every reference replaced; the problem where one can't be. Relative paths are seen from `folder`.
pub fn expand(text: &str, folder: &Path) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let after = &rest[start + 2..];
        if let Some(before) = rest[..start].strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(&rest[..start]);
        // The text is not repeated: it may be a secret that happens to hold these two characters.
        let Some(end) = after.find('}') else {
            return Err("it opens ${ and does not close it; write $${ where ${ is meant as it stands".to_owned());
        };
        if after[..end].contains("${") {
            return Err("it has ${ within ${…}; a default is taken as it stands".to_owned());
        }
        out.push_str(&resolve(&after[..end], folder)?);
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn resolve(reference: &str, folder: &Path) -> Result<String, String> {
    if let Some(path) = reference.strip_prefix("file:") {
        let path = folder.join(path);
        let text =
            std::fs::read_to_string(&path).map_err(|error| format!("read secret file {}: {error}", path.display()))?;
        // A mounted secret that ends in a line break is the commonest broken token.
        return Ok(text.trim_end().to_owned());
    }
    if let Some(secret) = reference.strip_prefix("aws-secret:") {
        return super::secret::get(secret);
    }
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    match (std::env::var(name), default) {
        (Ok(value), _) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (Ok(value), None) => Ok(value),
        (Err(_), None) => Err(format!("environment variable {name} is not set; set it, or write ${{{name}:-default}}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<String, String> {
        super::expand(text, Path::new(""))
    }

    #[test]
    fn defaults_stand_in_and_missing_names_are_named() {
        assert_eq!(expand("a ${NO_SUCH_NAME_HERE:-b} c").as_deref(), Ok("a b c"));
        assert!(expand("${NO_SUCH_NAME_HERE}").expect_err("missing").contains("NO_SUCH_NAME_HERE"));
        assert!(expand("${OPEN").is_err());
        assert_eq!(expand("plain $5").as_deref(), Ok("plain $5"));
    }

    #[test]
    fn what_is_escaped_is_text_and_what_is_nested_is_refused() {
        assert_eq!(expand("a $${NO_SUCH_NAME_HERE} b").as_deref(), Ok("a ${NO_SUCH_NAME_HERE} b"));
        assert_eq!(expand("$${ $$${ ${NO_SUCH_NAME_HERE:-c}").as_deref(), Ok("${ $${ c"));
        assert!(expand("${NO_SUCH_NAME_HERE:-${NO_OTHER}}").is_err_and(|problem| problem.contains("within")));
    }

    #[test]
    fn a_secret_file_loses_its_last_line_break() {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), "token\n").expect("write");
        assert_eq!(expand(&format!("${{file:{}}}", file.path().display())).as_deref(), Ok("token"));
        let folder = file.path().parent().expect("a folder");
        let name = file.path().file_name().expect("a name").to_string_lossy();
        assert_eq!(super::expand(&format!("${{file:{name}}}"), folder).as_deref(), Ok("token"), "beside the settings");
    }
}
