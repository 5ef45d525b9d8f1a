"""What a team keeps to run against: projects, environments with their builds, tasksets."""
