//! The syncer for two toys: what is on the one shelf is handed over to the other.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use wl_core::Result;
use wl_core::backend::Written;
use wl_core::syncer::{Carrier, EngineSyncer, Parcel, Traits};

use crate::backend::Toy;

#[derive(Default)]
pub struct ToyToy {
    handed_over: AtomicUsize,
}

impl ToyToy {
    pub fn handed_over(&self) -> usize {
        self.handed_over.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Carrier for ToyToy {
    async fn carry(&self, parcel: Parcel<'_>) -> Result<Written> {
        let Parcel { path, entry, content, from, to, guard, trash, limited, monitor } = &parcel;
        let version = from.known_as::<Toy>().and_then(|toy| toy.version(path, &entry.token).ok());
        let (Some(version), Some(target), false) = (version, to.known_as::<Toy>(), limited) else {
            return parcel.read_and_write().await;
        };
        if content.hash.is_some_and(|hash| hash != version.hash()) {
            return Err(wl_core::Error::changed(path));
        }
        monitor.transferred(entry.size);
        self.handed_over.fetch_add(1, Ordering::Relaxed);
        target.put(path, version, guard, *trash)
    }
}

impl EngineSyncer for ToyToy {
    const TRAITS: Traits = Traits::of_engine("toy-toy", &["toy"], &["toy"]);
}
