"""What readers said of our reports: kept beside the radiograph, listed, compared, exported for training.

``rows`` is the journal's part of it, light enough for every role; the other modules are for the command.
"""

from worker.assessments.rows import Assessments, assessments_of, put_assessment

__all__ = ["Assessments", "assessments_of", "put_assessment"]
