//! The set in use, exchanged as a whole when the files change.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;

use super::{RouteError, RouteLimits, Routes, cases};

/// Scripts that can be exchanged while they are in use.
pub struct LiveRoutes {
    current: ArcSwap<Routes>,
    directory: PathBuf,
    limits: RouteLimits,
}

impl LiveRoutes {
    pub fn load(directory: PathBuf, limits: RouteLimits) -> Result<Self, Vec<RouteError>> {
        let routes = Routes::load(&directory, &limits)?;
        Ok(Self { current: ArcSwap::from_pointee(routes), directory, limits })
    }

    pub fn current(&self) -> Arc<Routes> {
        self.current.load_full()
    }

    pub fn limits(&self) -> &RouteLimits {
        &self.limits
    }

    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// Compiles the files anew and runs their cases; the old set stays when anything fails. True when it was exchanged.
    pub fn reload(&self) -> Result<bool, Vec<RouteError>> {
        let routes = Routes::load(&self.directory, &self.limits)?;
        if routes.version() == self.current.load().version() {
            return Ok(false);
        }
        let failed: Vec<RouteError> = cases::run(&routes, &self.limits)?
            .into_iter()
            .filter_map(|case| {
                let problem = case.problem?;
                Some(RouteError { at: case.file, problem: format!("case \"{}\": {problem}", case.name) })
            })
            .collect();
        if !failed.is_empty() {
            return Err(failed);
        }
        self.current.store(Arc::new(routes));
        Ok(true)
    }
}
