"""From a folder of source to something that runs elsewhere: what belongs to it, packed and locked.

Builds, and says how a build is run; placing rollouts in one is each runtime's business.
"""
