//! `shared.rhai` and the files that it imports: functions for all scripts.
//!
//! Everything comes from texts that were read before: a script has no way to a file, and none to a file of another folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use rhai::{AST, ASTNode, Engine, Expr, Module, Position, Scope, Shared, Stmt, module_resolvers};

use super::{RouteError, RouteLimits, compile, located, room};

pub const SHARED: &str = "shared.rhai";

/// Makes the functions of shared.rhai those of the engine, and each file that is imported a module of its own under its name:
/// `lib::f()`. The names of the files that are imported.
pub fn load(
    engine: &mut Engine,
    limits: &RouteLimits,
    directory: &Path,
    files: &BTreeMap<String, String>,
) -> Result<BTreeSet<String>, RouteError> {
    if !files.contains_key(SHARED) {
        return Ok(BTreeSet::new());
    }
    engine.set_max_modules(usize::MAX);
    let mut loading = Loading { engine, directory, files, loaded: BTreeMap::new(), way: Vec::new() };
    let shared = room::roomy(limits, || loading.module(SHARED)).unwrap_or_else(|| {
        Err(located(&directory.join(SHARED), Position::NONE, "there is no thread to read it on".to_owned()))
    });
    let loaded = std::mem::take(&mut loading.loaded);
    // From here on nothing is imported any more.
    engine.set_max_modules(0).set_module_resolver(module_resolvers::DummyModuleResolver::new());
    engine.register_global_module(shared?);
    Ok(loaded.into_keys().filter(|file| file != SHARED).collect())
}

/// What other scripts may not do: a set of functions that depends on the script would be nobody's to know.
pub fn refuse(ast: &AST, path: &Path) -> Result<(), RouteError> {
    match imports(ast).first() {
        Some((_, at)) => {
            let problem = "import stands in shared.rhai: what it imports is there for all scripts, as lib::f()";
            Err(located(path, *at, problem.to_owned()))
        }
        None => Ok(()),
    }
}

struct Loading<'a> {
    engine: &'a mut Engine,
    directory: &'a Path,
    files: &'a BTreeMap<String, String>,
    loaded: BTreeMap<String, Shared<Module>>,
    /// From shared.rhai to the file at work.
    way: Vec<String>,
}

struct Import {
    stem: String,
    alias: Option<String>,
    at: Position,
}

impl Loading<'_> {
    fn module(&mut self, file: &str) -> Result<Shared<Module>, RouteError> {
        if let Some(module) = self.loaded.get(file) {
            return Ok(Shared::clone(module));
        }
        let path = self.directory.join(file);
        let text = self.files.get(file).map_or("", String::as_str);
        self.way.push(file.to_owned());
        // Names of modules are only known once they are loaded, which is what this reading is for.
        self.engine.set_strict_variables(false);
        let ast = compile(self.engine, &path, text);
        self.engine.set_strict_variables(true);
        let named = named(&ast?, &path)?;
        for import in &named {
            self.import(&path, import)?;
        }
        let mut ast = compile(self.engine, &path, text)?;
        ast.set_source(file);
        self.engine.set_module_resolver(self.resolver());
        let module = Module::eval_ast_as_new(Scope::new(), &ast, self.engine)
            .map_err(|error| located(&path, error.position(), error.to_string()))?;
        let module: Shared<Module> = module.into();
        self.way.pop();
        if file == SHARED {
            self.aliases(&path, &named)?;
        } else {
            self.engine.register_static_module(stem(file), Shared::clone(&module));
        }
        self.loaded.insert(file.to_owned(), Shared::clone(&module));
        Ok(module)
    }

    fn import(&mut self, path: &Path, import: &Import) -> Result<(), RouteError> {
        let file = format!("{}.rhai", import.stem);
        if !self.files.contains_key(&file) {
            let problem = format!("there is no {file} in {}", self.directory.display());
            return Err(located(path, import.at, problem));
        }
        if let Some(start) = self.way.iter().position(|known| *known == file) {
            let circle = self.way[start..].join(" imports ");
            return Err(located(
                path,
                import.at,
                format!("{circle} imports {file}: imports can't go round in a circle"),
            ));
        }
        self.module(&file).map(drop)
    }

    /// What shared.rhai calls a file is its name for all.
    fn aliases(&mut self, path: &Path, named: &[Import]) -> Result<(), RouteError> {
        for import in named {
            let Some(alias) = &import.alias else { continue };
            let own = self.loaded.get(&format!("{}.rhai", import.stem));
            if *alias != import.stem && self.loaded.contains_key(&format!("{alias}.rhai")) {
                let problem = format!("`{alias}` is the name of another file that is imported");
                return Err(located(path, import.at, problem));
            }
            if let Some(module) = own {
                self.engine.register_static_module(alias, Shared::clone(module));
            }
        }
        Ok(())
    }

    fn resolver(&self) -> module_resolvers::StaticModuleResolver {
        let mut resolver = module_resolvers::StaticModuleResolver::new();
        for (file, module) in &self.loaded {
            resolver.insert(stem(file), Module::clone(module));
            resolver.insert(file.as_str(), Module::clone(module));
        }
        resolver
    }
}

fn stem(file: &str) -> &str {
    file.strip_suffix(".rhai").unwrap_or(file)
}

/// Every import of a script with its place, wherever it stands.
fn imports(ast: &AST) -> Vec<(Stmt, Position)> {
    let mut found = Vec::new();
    ast.walk(&mut |path| {
        if let Some(ASTNode::Stmt(statement @ Stmt::Import(_, at))) = path.last() {
            found.push(((*statement).clone(), *at));
        }
        true
    });
    found
}

/// The imports of a file that may have some.
fn named(ast: &AST, path: &Path) -> Result<Vec<Import>, RouteError> {
    let at_top = |at: Position| ast.statements().iter().any(|statement| statement.position() == at);
    let mut named = Vec::new();
    for (statement, at) in imports(ast) {
        let Stmt::Import(import, _) = statement else { continue };
        let (Expr::StringConstant(name, _), true) = (&import.0, at_top(at)) else {
            let problem = "import stands at the top of the file, and with a name such as \"lib\": what it brings is known before anything runs";
            return Err(located(path, at, problem.to_owned()));
        };
        let stem = stem(name).to_owned();
        if stem.is_empty() || !stem.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let problem = format!(
                "`{name}` is no file that can be imported: give its name alone, of letters, digits and _, such as \"lib\" for lib.rhai beside this one"
            );
            return Err(located(path, at, problem));
        }
        let alias = (!import.1.name.is_empty()).then(|| import.1.name.to_string());
        named.push(Import { stem, alias, at });
    }
    Ok(named)
}
