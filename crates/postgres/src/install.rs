//! Which one command gives this system PostgreSQL.

/// The command that installs PostgreSQL's server on this system, as a person would type it.
pub fn install_command() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    command_for(std::env::consts::OS, &release).to_owned()
}

fn command_for(os: &str, os_release: &str) -> &'static str {
    if os == "macos" {
        return "brew install postgresql@17";
    }
    let families = os_release
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(key, _)| matches!(*key, "ID" | "ID_LIKE"))
        .flat_map(|(_, value)| value.trim_matches('"').split_whitespace());
    for family in families {
        match family {
            "debian" | "ubuntu" => return "sudo apt-get install postgresql",
            "fedora" | "rhel" | "centos" => return "sudo dnf install postgresql-server",
            "alpine" => return "sudo apk add postgresql",
            "arch" => return "sudo pacman -S postgresql",
            "suse" | "opensuse" => return "sudo zypper install postgresql-server",
            _ => {}
        }
    }
    "see https://www.postgresql.org/download/"
}

#[cfg(test)]
mod tests {
    use super::command_for;

    #[test]
    fn each_system_is_told_its_own_command() {
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n";
        assert_eq!(command_for("linux", debian), "sudo apt-get install postgresql");
        let mint = "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n";
        assert_eq!(command_for("linux", mint), "sudo apt-get install postgresql");
        let rocky = "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n";
        assert_eq!(command_for("linux", rocky), "sudo dnf install postgresql-server");
        assert_eq!(command_for("macos", ""), "brew install postgresql@17");
        assert!(command_for("linux", "").contains("postgresql.org"));
    }
}
