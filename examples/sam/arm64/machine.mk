# Lambda's name of this architecture is the folder's; the system's name is
MACHINE := aarch64
