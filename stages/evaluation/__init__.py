"""From tubes and ground truth to tables: the stages that put methods' results and metrics together."""
