//! Makes lanes as router.yaml says.

use std::{collections::HashMap, sync::atomic::Ordering};

use connectors::{ContentKind, Gate};

use crate::{
    deliver::{Lane, LaneKind, LaneOutline, Lanes},
    engine::Target,
    service::{RunOptions, ServiceError},
    settings::{Settings, TargetSettings},
    store::Store,
};

/// A target with its number in the store.
struct Place {
    id: i64,
    name: String,
    settings: TargetSettings,
}

/// The targets of router.yaml, ready to become lanes.
pub struct LaneMaker {
    places: Vec<Place>,
    dry_run: bool,
}

impl LaneMaker {
    /// Numbers the targets, and refuses what can't be one.
    pub async fn new(settings: &Settings, store: &Store, options: RunOptions) -> Result<Self, ServiceError> {
        let names = settings.targets.keys().cloned().collect();
        let numbers = store.register_targets(names).await?;
        let mut places = Vec::new();
        for (name, id) in numbers {
            if let Some(target) = settings.targets.get(&name) {
                places.push(Place { id, name, settings: target.clone() });
            }
        }
        places.sort_by_key(|place| place.id);
        let maker = Self { places, dry_run: options.dry_run };
        for place in &maker.places {
            maker.connect(place, None)?;
        }
        Ok(maker)
    }

    /// Numbers of the lanes.
    pub fn ids(&self) -> Vec<i64> {
        self.places.iter().map(|place| place.id).collect()
    }

    pub fn name(&self, id: i64) -> Option<&str> {
        self.place(id).map(|place| place.name.as_str())
    }

    pub fn outlines(&self) -> Vec<LaneOutline> {
        let outline = |place: &Place| LaneOutline {
            name: place.name.as_str().into(),
            id: place.id,
            max_bytes: place.settings.lane.max_bytes,
            when_full: place.settings.lane.when_full,
        };
        self.places.iter().map(outline).collect()
    }

    /// What the engine knows of the targets.
    pub fn targets(&self) -> HashMap<String, Target> {
        let target = |place: &Place| {
            let tickets = connectors::makes_tickets(&place.settings.kind);
            (place.name.clone(), Target { id: place.id, kind: kind(place), tickets })
        };
        self.places.iter().map(target).collect()
    }

    /// Starts a lane among `lanes`, which writes and sends in the name of `store`.
    pub fn start(&self, id: i64, lanes: &Lanes, store: Store) -> Result<(), ServiceError> {
        let Some(place) = self.place(id) else { return Ok(()) };
        let gate = store.duty().cloned().map(|duty| Gate::new(move || duty.holds()));
        let connector = self.connect(place, gate)?;
        let paused = store.lane_reports()?.iter().any(|report| report.target == id && report.paused);
        let lane = Lane::new(place.name.as_str().into(), id, connector.into(), store, place.settings.lane.clone());
        lane.state.paused.store(paused, Ordering::Relaxed);
        Ok(lanes.start(lane, kind(place))?)
    }

    fn connect(&self, place: &Place, gate: Option<Gate>) -> Result<Box<dyn connectors::Connector>, ServiceError> {
        let Place { name, settings, .. } = place;
        let http = connectors::HttpOptions { gate, ..settings.http.clone() };
        let connector = if self.dry_run {
            connectors::connect("console", name, serde_json::json!({}), &http)
        } else {
            connectors::connect(&settings.kind, name, settings.own.clone(), &http)
        };
        connector.map_err(|error| ServiceError::Invalid(format!("target {name}: {error}")))
    }

    fn place(&self, id: i64) -> Option<&Place> {
        self.places.iter().find(|place| place.id == id)
    }
}

fn kind(place: &Place) -> LaneKind {
    match connectors::content_kind(&place.settings.kind) {
        ContentKind::Notice => LaneKind::Stateful,
        ContentKind::Record => LaneKind::Records,
    }
}
