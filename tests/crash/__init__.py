"""Kills, power cuts, full disks and races: after each, the next command must find a sound store."""
