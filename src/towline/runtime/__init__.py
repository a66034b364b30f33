"""What every process of Towline needs: settings, logs, signals, state, keys."""
