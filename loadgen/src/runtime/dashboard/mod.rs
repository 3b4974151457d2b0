//! The terminal as a dashboard: takes it, draws on it, and gives it back as it was.

mod view;

use super::glance::Glance;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use std::io::{self, Stderr};
use std::panic;
use std::sync::Once;
use std::time::Duration;

/// Standard error, as for the progress line: the report goes to standard output.
pub struct Dashboard {
    terminal: Terminal<CrosstermBackend<Stderr>>,
}

impl Dashboard {
    pub fn open() -> io::Result<Dashboard> {
        restore_on_panic();
        enable_raw_mode()?;
        // From here on the drop gives the terminal back, whatever fails.
        let dashboard = match Terminal::new(CrosstermBackend::new(io::stderr())) {
            Ok(terminal) => Dashboard { terminal },
            Err(error) => {
                restore();
                return Err(error);
            }
        };
        // That screen is empty. `Terminal::clear` would ask where the cursor is, and a terminal
        // that does not say would hold up the one who watches the run.
        execute!(io::stderr(), EnterAlternateScreen, Hide)?;
        Ok(dashboard)
    }

    /// True if somebody pressed a key to end the run: raw mode makes no signal of it.
    pub fn show(&mut self, glance: &Glance, is_new: bool) -> bool {
        let mut is_stale = is_new;
        // A terminal that is gone ends the process by a signal; the run goes on until then.
        while event::poll(Duration::ZERO).unwrap_or(false) {
            match event::read() {
                Ok(Event::Key(key)) if ends_run(key) => return true,
                Ok(Event::Resize(..)) => is_stale = true,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        if is_stale {
            let _ = self.terminal.draw(|frame| view::draw(frame, glance));
        }
        false
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        restore();
    }
}

fn ends_run(key: KeyEvent) -> bool {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') => is_control,
        KeyCode::Char('q') | KeyCode::Esc => true,
        _ => false,
    }
}

fn restore() {
    let _ = disable_raw_mode();
    let _ = execute!(io::stderr(), LeaveAlternateScreen, Show);
}

/// Else the message would go to the screen that is about to vanish.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore();
            tell(panic);
        }));
    });
}
