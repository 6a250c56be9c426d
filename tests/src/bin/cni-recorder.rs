//! A CNI plugin (CNI spec 1.1) that writes down what it was given and does as it is told: the
//! witness and the troublemaker of the tests.
//!
//! Every call leaves `calls/<sandbox>/<nanoseconds>-<command>-<pid>.json` (environment, standard
//! input, on one line) when it begins, and an `ended` file with the time beside it when it is over;
//! a call that hangs or is killed has none. Orders are files `orders/<name of the config>`, read at
//! each call: `{"ADD": ORDER, "DEL": ORDER}`, ORDER being `{"fail": "text"}`,
//! `{"hang_until_gone": true}` (until the orders file is changed) or absent. It passes its
//! `prevResult` on; as the first of a chain it answers with one interface that it did not make.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{ExitCode, id},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

const DIRECTORY: &str = "/var/lib/cni/recorder";

fn main() -> ExitCode {
    match run() {
        Ok(answer) => print(&answer, ExitCode::SUCCESS),
        Err(text) => print(
            &json!({"cniVersion": "1.1.0", "code": 999, "msg": text}),
            ExitCode::FAILURE,
        ),
    }
}

fn print(answer: &Value, code: ExitCode) -> ExitCode {
    if answer.is_null() || writeln!(io::stdout(), "{answer}").is_ok() {
        code
    } else {
        ExitCode::FAILURE
    }
}

fn run() -> Result<Value, String> {
    let command = env::var("CNI_COMMAND").map_err(|_| "CNI_COMMAND is not set: this is a CNI plugin")?;
    if command == "VERSION" {
        return Ok(json!({"cniVersion": "1.1.0", "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]}));
    }
    let mut stdin = String::new();
    io::stdin()
        .read_to_string(&mut stdin)
        .map_err(|e| format!("standard input: {e}"))?;
    let config: Value = serde_json::from_str(&stdin).map_err(|e| format!("the config: {e}"))?;
    let call = begin(&command, &config)?;
    let outcome = obey(&command, &config);
    write(&call.with_extension("ended"), &nanoseconds().to_string())?;
    outcome?;
    Ok(if command == "ADD" {
        result(&config)
    } else {
        Value::Null
    })
}

fn begin(command: &str, config: &Value) -> Result<PathBuf, String> {
    let sandbox = env::var("CNI_CONTAINERID").map_err(|_| "CNI_CONTAINERID is not set")?;
    let calls = Path::new(DIRECTORY).join("calls").join(sandbox);
    fs::create_dir_all(&calls).map_err(|e| format!("{}: {e}", calls.display()))?;
    let environment: BTreeMap<_, _> = env::vars().filter(|(key, _)| key.starts_with("CNI_")).collect();
    let call = calls.join(format!("{}-{command}-{}.json", nanoseconds(), id()));
    write(
        &call,
        &json!({"environment": environment, "config": config}).to_string(),
    )?;
    Ok(call)
}

fn nanoseconds() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos()
}

/// One line, whole or not at all.
fn write(path: &Path, line: &str) -> Result<(), String> {
    let unfinished = path.with_extension(format!("{}.writing", id()));
    fs::write(&unfinished, format!("{line}\n"))
        .and_then(|()| fs::rename(&unfinished, path))
        .map_err(|e| format!("{}: {e}", path.display()))
}

fn obey(command: &str, config: &Value) -> Result<(), String> {
    let name = config["name"].as_str().unwrap_or_default();
    let orders = Path::new(DIRECTORY).join("orders").join(name);
    let read = || -> Value {
        let text = fs::read_to_string(&orders).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    };
    while read()[command]["hang_until_gone"] == json!(true) {
        thread::sleep(Duration::from_millis(20));
    }
    match read()[command]["fail"].as_str() {
        Some(text) => Err(text.to_owned()),
        None => Ok(()),
    }
}

fn result(config: &Value) -> Value {
    if config["prevResult"].is_object() {
        return config["prevResult"].clone();
    }
    let (interface, netns) = (
        env::var("CNI_IFNAME").unwrap_or_default(),
        env::var("CNI_NETNS").unwrap_or_default(),
    );
    json!({"cniVersion": config["cniVersion"], "interfaces": [{"name": interface, "mac": "02:00:00:00:00:99", "sandbox": netns}]})
}
