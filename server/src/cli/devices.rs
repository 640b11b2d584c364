//! Makes the executors that `--device` asks for, and shares out the cores.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use gpu::partition::split_cores;
use gpu::stream::Stream;
use gpu::{Emulated, Executor, Noise, OnnxCpu, OnnxCuda, device, emulated, onnx};
use models::ExecutorId;

use crate::config::DeviceChoice;
use crate::repository::place::Place;

/// The device on which models are measured, and with what.
#[derive(Args, Clone, Debug)]
pub struct DeviceArgs {
    /// cpu:1xT (T cores) | cuda:K | emulated:PROFILE
    #[arg(long, value_name = "DEVICE", default_value = "cpu:1")]
    pub device: DeviceChoice,
    /// The ONNX Runtime library, or its folder [default: beside the program, or target/onnxruntime/lib]
    #[arg(long, value_name = "PATH")]
    pub onnxruntime: Option<PathBuf>,
}

impl DeviceArgs {
    /// Makes its executor.
    ///
    /// # Errors
    /// As [`Devices::make`] says.
    pub fn devices(&self) -> Result<Devices, String> {
        Devices::make(std::slice::from_ref(&self.device), self.onnxruntime.as_deref())
    }
}

/// The executors of this server.
pub struct Devices {
    /// By number.
    pub places: Vec<Place>,
    /// The cores of each executor's thread; none for anywhere.
    pub cores: Vec<Vec<usize>>,
    /// Cores that no executor has.
    pub free: Vec<usize>,
    /// What runs models, with its version.
    pub runtime: String,
}

impl Devices {
    /// Makes the executors.
    ///
    /// # Errors
    /// Where a device is not there, cores do not suffice, or the runtime's library is missing, with the command that
    /// fetches it.
    pub fn make(choices: &[DeviceChoice], library: Option<&Path>) -> Result<Self, String> {
        let allowed = device::cores().map_err(|error| error.to_string())?;
        let (shares, free) = share_out(choices, &allowed)?;
        let mut devices =
            Self { places: Vec::new(), cores: Vec::new(), free, runtime: "emulated".into() };
        for (choice, shares) in choices.iter().zip(shares) {
            devices.add(choice, shares, library)?;
        }
        Ok(devices)
    }

    fn add(
        &mut self,
        choice: &DeviceChoice,
        shares: Vec<Vec<usize>>,
        library: Option<&Path>,
    ) -> Result<(), String> {
        match choice {
            DeviceChoice::Cpus | DeviceChoice::Cpu { .. } => {
                let runtime = self.runtime(library)?;
                for cores in shares {
                    self.push(Arc::new(OnnxCpu::new(runtime, cores.clone())), cores);
                }
            }
            DeviceChoice::Cuda { ordinal } => {
                let runtime = self.runtime(library)?;
                let stream = Stream::whole(*ordinal, 0).map_err(|error| error.to_string())?;
                let executor = OnnxCuda::new(runtime, Arc::new(stream), None);
                let executor = executor.map_err(|error| error.to_string())?;
                self.push(Arc::new(executor), Vec::new());
            }
            DeviceChoice::Emulated { profile } => {
                let device = emulate(profile)?;
                let known = device.profile().clone();
                self.push(Arc::new(device), Vec::new());
                if let Some(place) = self.places.last_mut() {
                    place.known = Some(known);
                }
            }
        }
        Ok(())
    }

    fn runtime(&mut self, library: Option<&Path>) -> Result<&'static onnx::Runtime, String> {
        let runtime = onnx::runtime(library).map_err(|error| error.to_string())?;
        self.runtime = format!("onnxruntime {}", runtime.version());
        Ok(runtime)
    }

    fn push(&mut self, executor: Arc<dyn Executor>, cores: Vec<usize>) {
        let number = u32::try_from(self.places.len()).expect("a server has few executors");
        let threads = u32::try_from(cores.len().max(1)).expect("a machine has few cores");
        self.places.push(Place { id: ExecutorId(number), executor, cores: threads, known: None });
        self.cores.push(cores);
    }
}

/// The device of a built-in profile, or of one in a file.
fn emulate(profile: &str) -> Result<Emulated, String> {
    let text = match emulated::built_in(profile) {
        Some(text) => text.to_owned(),
        None => std::fs::read_to_string(profile).map_err(|error| {
            let known = emulated::built_in_names().collect::<Vec<_>>().join(", ");
            format!("--device emulated:{profile}: no profile of that name ({known}) and no file: {error}")
        })?,
    };
    Emulated::from_csv(profile, &text, Noise::default())
        .map_err(|error| format!("--device emulated:{profile}: {error}"))
}

/// Cores of the executors of each choice, and those left over.
type Shares = (Vec<Vec<Vec<usize>>>, Vec<usize>);

/// Shares out the cores, from the last one down: the system prefers the first for itself.
fn share_out(choices: &[DeviceChoice], allowed: &[usize]) -> Result<Shares, String> {
    let asked = |choice: &DeviceChoice| match choice {
        DeviceChoice::Cpu { executors, cores } => executors.saturating_mul(*cores),
        DeviceChoice::Cpus | DeviceChoice::Cuda { .. } | DeviceChoice::Emulated { .. } => 0,
    };
    let stated: usize = choices.iter().map(asked).sum();
    let mut left = allowed.to_vec();
    let mut shares = Vec::new();
    for choice in choices {
        let (executors, cores) = match choice {
            DeviceChoice::Cpu { executors, cores } => (*executors, *cores),
            DeviceChoice::Cpus => (allowed.len().saturating_sub(stated + 1).max(1), 1),
            DeviceChoice::Cuda { .. } | DeviceChoice::Emulated { .. } => {
                shares.push(Vec::new());
                continue;
            }
        };
        left.reverse();
        let share = split_cores(&left, executors, cores)
            .map_err(|error| format!("--device {choice}: {error}"))?;
        left.drain(..executors * cores);
        left.reverse();
        shares.push(share);
    }
    Ok((shares, left))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(devices: &str, cores: usize) -> Result<Shares, String> {
        let choices: Vec<_> = devices.split(' ').map(|text| text.parse().unwrap()).collect();
        share_out(&choices, &(0..cores).collect::<Vec<_>>())
    }

    #[test]
    fn executors_take_the_last_cores_and_leave_one_for_connections() {
        assert_eq!(shares("cpu", 4), Ok((vec![vec![vec![3], vec![2], vec![1]]], vec![0])));
        assert_eq!(shares("cpu", 1), Ok((vec![vec![vec![0]]], vec![])));
        assert_eq!(shares("cpu:1x2", 4), Ok((vec![vec![vec![3, 2]]], vec![0, 1])));
        let mixed = vec![vec![], vec![vec![3], vec![2]], vec![vec![1]]];
        assert_eq!(shares("emulated:x cpu:2 cpu", 4), Ok((mixed, vec![0])));
    }

    #[test]
    fn more_cores_than_there_are_is_refused_by_name() {
        let error = shares("cpu:2x2", 3).unwrap_err();
        assert!(error.starts_with("--device cpu:2x2: "), "{error}");
    }

    #[test]
    fn an_unknown_profile_is_refused_with_those_that_are_built_in() {
        let error = Devices::make(&["emulated:none".parse().unwrap()], None).err().unwrap();
        assert!(error.contains("resnet50_v100"), "{error}");
    }
}
