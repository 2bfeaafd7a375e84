"""What an artifact takes: stack and instructions, on this machine or on an emulated one."""
