//! Prints rows as a person or a program wants them.

use serde::Serialize;

use crate::{args::Format, error::Error, rows::Row};

/// Prints rows. `everywhere`: with the namespace.
pub fn rows(rows: &[Row], format: Format, everywhere: bool) -> Result<(), Error> {
    match format {
        Format::Json | Format::Yaml => structured(&rows, format),
        Format::Name => {
            for row in rows {
                println!("pod/{} {}", row.pod, row.interface);
            }
            Ok(())
        }
        Format::Table | Format::Wide => {
            let wide = format == Format::Wide;
            let mut head = vec!["POD", "INTERFACE", "NETWORK", "STATE", "ADDRESSES"];
            if everywhere {
                head.insert(0, "NAMESPACE");
            }
            if wide {
                head.extend(["MAC", "NODE", "MESSAGE"]);
            }
            let mut table = vec![head.into_iter().map(str::to_owned).collect()];
            for row in rows {
                let addresses = row.addresses.join(",");
                let mut cells = vec![
                    row.pod.clone(),
                    row.interface.clone(),
                    row.network.clone(),
                    row.state.to_string(),
                    addresses,
                ];
                if everywhere {
                    cells.insert(0, row.namespace.clone());
                }
                if wide {
                    cells.extend([row.mac.clone(), row.node.clone(), row.message.clone()]);
                }
                table.push(cells);
            }
            print!("{}", aligned(&table));
            Ok(())
        }
    }
}

/// JSON or YAML.
pub fn structured(value: &impl Serialize, format: Format) -> Result<(), Error> {
    let text = match format {
        Format::Yaml => serde_saphyr::to_string(value).map_err(|error| Error::Setup(error.to_string()))?,
        _ => serde_json::to_string_pretty(value).map_err(|error| Error::Setup(error.to_string()))? + "\n",
    };
    print!("{text}");
    Ok(())
}

/// Columns as wide as their widest cell, three spaces apart, as kubectl prints them.
pub fn aligned(table: &[Vec<String>]) -> String {
    let columns = table.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = table.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in table {
        let cells = row.iter().zip(&widths).map(|(cell, width)| {
            let cell = if cell.is_empty() { "-" } else { cell };
            format!("{cell:width$}")
        });
        text.push_str(cells.collect::<Vec<_>>().join("   ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_empty_cells_marked() {
        let table = [vec!["A", "LONG", "C"], vec!["abc", "", "ü"]]
            .map(|row| row.into_iter().map(str::to_owned).collect());
        assert_eq!(aligned(&table), "A     LONG   C\nabc   -      ü\n");
    }
}
