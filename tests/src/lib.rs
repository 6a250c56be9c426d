//! The test harness: verbs over the local cluster, over the two programs run as plain processes,
//! and over the files of the repository. A test opens a namespace of its own ([`in_namespace`]),
//! makes networks and pods in it, edits annotations, and looks at what the kernel, the node's files
//! and the API say. Whatever fails is dumped.
//!
//! The cluster is the one that `make cluster-up` left in `.cluster/` of this checkout, with the
//! image loaded and `manifests/dynamic-networks-controller.yaml` applied (`make test` does all of
//! it). Without it cluster tests fail.

mod account;
mod allow_all;
mod api_double;
mod cases;
mod checker;
mod client;
mod cluster;
mod components;
mod condition;
mod cri_double;
mod daemon;
mod delegate;
mod delegate_file;
mod device_plugin;
mod disk;
mod dra_driver;
mod dump;
mod ending;
mod error;
mod events;
pub mod figures;
mod gate;
pub mod generate;
mod install;
mod kernel;
mod links;
mod mesh;
pub mod metrics_page;
mod multus;
mod nads;
mod namespace;
mod network;
mod node;
pub mod oracle;
mod others;
mod parity;
mod pci_bus;
mod pod;
mod process;
mod product;
mod recorder;
pub mod refused;
mod repository;
mod settings;
mod sight;
mod teardown;
mod tls_endpoint;
mod traffic;
mod victim;
mod vitals;
mod wait;

pub use allow_all::{AllowAll, Labels, serve_allow_all};
pub use api_double::{Answer, ApiDouble, RequestKind};
pub use cases::Case;
pub use checker::{Breach, LiveSandbox, Scene, SeenCall, breaches};
pub use client::Client;
pub use cluster::Cluster;
pub use condition::{condition, networks_ready};
pub use cri_double::CriDouble;
pub use daemon::{AgentOptions, MultusDouble, NodeAgent};
pub use delegate_file::DelegateEntry;
pub use device_plugin::DevicePlugin;
pub use disk::SmallDisk;
pub use dra_driver::DraDriver;
pub use ending::{PATIENCE, RELEASE, RELEASE_AT_START, Termination, Watched};
pub use error::{Error, Result};
pub use events::Event;
pub use gate::{Asked, is_unanswered};
pub use install::{Said, documents, named_in};
pub use kernel::Interface;
pub use links::Links;
pub use mesh::Mesh;
pub use namespace::{
    NO_NETWORKS, Namespace, alone_for, alone_in_kube_system, alone_in_namespace, in_kube_system, in_namespace,
};
pub use network::{Nad, Plugin, bridge, host_device, macvlan};
pub use node::{Lease, Node};
pub use parity::same_names;
pub use pod::{Pod, StatusEntry};
pub use process::{Output, Program, Running, free_address, get};
pub use recorder::{Order, Recorded};
pub use repository::{read, render_manifests, root, run};
pub use sight::{Observer, Sight};
pub use teardown::Plugged;
pub use traffic::{Traffic, hold_connections};
pub use victim::Victim;
pub use vitals::{Held, Vitals};
pub use wait::{LONG, PLUG, eventually};
