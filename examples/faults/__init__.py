"""Single faults in six architectures, and healthy runs, to judge vital signs by."""
