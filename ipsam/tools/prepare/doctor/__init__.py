"""The data doctor: examine every file of a run's data before the run does, and report what is wrong."""

from ipsam.tools.prepare.doctor.checks import SetReport
from ipsam.tools.prepare.doctor.diagnosis import Diagnosis, diagnose

__all__ = ["Diagnosis", "SetReport", "diagnose"]
