"""Tables and pages made from whole artifacts."""
